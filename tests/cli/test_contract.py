"""What scripts rely on: the JSON, the exit codes, the streams."""

import json
import os
import pty
import signal
import subprocess
import sys

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import models
import tse_onnx as library
from tests.command import DOCS, refused, tse_onnx, validated
from tests.graphs import network, plain_model, se_model, text_model
from tests.running import run
from tse_onnx.cli import main

REPORT = [
    "schema",
    "tse_onnx",
    "model",
    "opset",
    "input_shapes",
    "dynamic",
    "rows",
    "tiling",
    "blocks",
    "totals",
    "verification",
    "verdict",
]
BLOCK = ["name", "status", "reason", "reason_code", "kind", "squeeze", "scale", "scope", "input", "shape"]
FIGURES = [
    "tile", "descriptors", "buffer_before", "buffer_after", "buffer_before_bytes", "buffer_after_bytes",
    "buffer_after_streamed", "macs_added", "tiling",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(28, 14, 7), tmp_path / "net.onnx")
    onnx.save(se_model(), tmp_path / "se.onnx")
    onnx.save(se_model("H", "W"), tmp_path / "dynamic.onnx")
    onnx.save(plain_model(), tmp_path / "plain.onnx")
    return tmp_path


@pytest.mark.parametrize("schema", ["inspect", "report", "evaluate", "verify"])
def test_the_schemas_are_schemas(schema):
    jsonschema.Draft202012Validator.check_schema(json.loads((DOCS / f"{schema}.schema.json").read_text()))


def test_inspect_key_by_key(folder):
    done = tse_onnx("inspect", "net.onnx", "--format", "json", cwd=folder)
    assert done.returncode == 0
    assert not done.stderr
    found = validated(done.stdout, "inspect")
    assert list(found) == ["schema", "tse_onnx", "model", "opset", "blocks", "stops"]
    assert found["stops"] == []
    assert (found["schema"], found["model"], found["opset"]) == ("tse-onnx/inspect/1", "net.onnx", 17)
    assert [list(block) for block in found["blocks"]] == [BLOCK] * 4
    first, *_, last = found["blocks"]
    assert first["status"] == "convertible"
    assert first["reason"] is first["reason_code"] is None
    assert first["kind"] == "se"
    assert first["squeeze"] == {"node": "block0_squeeze", "output": "d0"}
    assert first["scale"] == {"node": "block0_scale", "output": "s0"}
    assert (first["input"], first["shape"]) == ("x", [None, 8, 28, 12])
    assert (last["status"], last["reason_code"], last["scale"]) == ("refused", "head", None)
    assert "head_pool" in last["reason"]
    assert last["squeeze"] == {"node": "head_pool", "output": "hp"}


def test_dynamic_dimensions_are_null_and_unnamed_nodes_have_no_name(folder):
    found = validated(tse_onnx("inspect", "dynamic.onnx", "--format", "json", cwd=folder).stdout, "inspect")
    (block,) = found["blocks"]
    assert block["shape"] == [None, 8, None, None]
    assert block["squeeze"] == {"node": "", "output": "d"}


def test_convert_report_key_by_key(folder):
    done = tse_onnx(
        "convert", "net.onnx", "out.onnx", "--rows", 7, "--report", "r.json", "--format", "json", cwd=folder
    )
    assert done.returncode == 0
    found = validated((folder / "r.json").read_bytes(), "report")
    assert validated(done.stdout, "report") == found
    assert list(found) == REPORT
    assert (found["schema"], found["model"], found["rows"], found["opset"]) == ("tse-onnx/report/1", "net.onnx", 7, 17)
    assert found["input_shapes"] == {}
    assert [list(block) for block in found["blocks"]] == [BLOCK + FIGURES] * 4
    assert [block["status"] for block in found["blocks"]] == ["converted", "converted", "unchanged", "refused"]
    first, second, third, last = found["blocks"]
    assert (first["tile"], first["descriptors"]) == ([7, 12], 4)
    assert (first["buffer_before"], first["buffer_after"]) == (8 * 28 * 12, 8 * 7 * 12)
    assert (first["buffer_before_bytes"], first["buffer_after_bytes"]) == (4 * 8 * 28 * 12, 4 * 8 * 7 * 12)
    assert first["macs_added"] == 3 * (8 * 4 + 4 * 8)
    assert second["macs_added"] == 8 * 4 + 4 * 8
    assert (third["tile"], third["descriptors"], third["macs_added"]) == ([7, 12], 1, 0)
    assert third["buffer_before"] == third["buffer_after"] == 8 * 7 * 12
    assert third["reason"]
    assert [last[key] for key in FIGURES] == [None] * len(FIGURES)
    assert found["totals"] == {
        "converted": 2, "unchanged": 1, "refused": 1,
        "buffer_before": 8 * 12 * 49, "buffer_after": 8 * 12 * 21,
        "buffer_before_bytes": 4 * 8 * 12 * 49, "buffer_after_bytes": 4 * 8 * 12 * 21,
        "reduction": round(28 / 49, 6), "macs_added": 4 * 64,
    }  # fmt: skip
    checked = found["verification"]
    assert checked["passed"] is True
    assert [block["name"] for block in checked["blocks"]] == [first["name"], second["name"]]
    assert all(0 <= block["max_error"] <= block["tolerance"] < 0.01 for block in checked["blocks"])
    assert [drift["output"] for drift in checked["drift"]] == ["y"]
    assert checked["drift"][0]["max_abs"] > 0
    assert isinstance(checked["drift"][0]["top1_agreement"], float)


def test_report_and_no_verify_have_no_verification(folder):
    previewed = validated(tse_onnx("report", "net.onnx", "--rows", 7, "--format", "json", cwd=folder).stdout, "report")
    words = ("convert", "net.onnx", "out.onnx", "--no-verify", "--dataflow", "--format", "json")
    converted = validated(tse_onnx(*words, cwd=folder).stdout, "report")
    del previewed["dataflow"]  # what each tensor holds, of which a conversion says no more than the sum
    assert previewed == converted
    assert converted["verification"] is None


def test_report_writes_nothing(folder):
    before = sorted(os.listdir(folder))
    assert tse_onnx("report", "net.onnx", cwd=folder).returncode == 0
    assert tse_onnx("inspect", "net.onnx", cwd=folder).returncode == 0
    assert sorted(os.listdir(folder)) == before


def test_bytes_are_those_of_the_models_type(folder):
    onnx.save(se_model(dtype=np.float16), folder / "half.onnx")
    found = validated(tse_onnx("report", "half.onnx", "--format", "json", cwd=folder).stdout, "report")
    assert found["totals"]["buffer_before_bytes"] == 2 * found["totals"]["buffer_before"] > 0


def test_input_shapes_stand_in_the_report_and_in_the_model(folder):
    done = tse_onnx(
        "convert", "dynamic.onnx", "out.onnx", "--input-shape", "x:1,8,20,9", "--format", "json", cwd=folder
    )
    found = validated(done.stdout, "report")
    assert found["input_shapes"] == {"x": [1, 8, 20, 9]}
    assert found["blocks"][0]["shape"] == [1, 8, 20, 9]
    written = onnx.load(folder / "out.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in written] == [1, 8, 20, 9]
    shown = tse_onnx("convert", "dynamic.onnx", "out.onnx", "--input-shape", "1,8,20,9", cwd=folder).stdout.decode()
    assert "[1, 8, 20, 9]" in shown


@pytest.mark.parametrize("batch", ["?", "N", "batch"])
def test_the_batch_may_stay_dynamic(folder, batch):
    done = tse_onnx("convert", "dynamic.onnx", "out.onnx", "--input-shape", f"{batch},8,20,9", cwd=folder)
    assert done.returncode == 0
    written = onnx.load(folder / "out.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in written] == [0, 8, 20, 9]
    assert written[0].dim_param == ("" if batch == "?" else batch)


def test_numbers_without_bound_are_null_and_not_nan(folder):
    """Behind the block a root of what is positive in the original, and not with tiles: reported, in valid JSON."""
    x = np.random.default_rng(0).standard_normal((1, 8, 16, 12)).astype(np.float32)
    model = se_model()
    model.graph.initializer.append(numpy_helper.from_array(run(model, x) - np.float32(1e-4), "floor"))
    model.graph.node[-1].output[0] = "negated"
    model.graph.node.append(helper.make_node("Sub", ["negated", "floor"], ["above"]))
    model.graph.node.append(helper.make_node("Sqrt", ["above"], ["y"]))
    onnx.save(model, folder / "sqrt.onnx")
    np.save(folder / "x.npy", x)
    done = tse_onnx("convert", "sqrt.onnx", "out.onnx", "--data", "x.npy", "--format", "json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    (drift,) = validated(done.stdout, "report")["verification"]["drift"]
    assert drift["max_abs"] is None
    assert drift["sqnr_db"] is None


# Exit codes


def test_0_when_no_block_is_there_and_said_clearly(folder):
    done = tse_onnx("convert", "plain.onnx", "out.onnx", cwd=folder)
    assert done.returncode == 0
    assert b"No squeeze-and-excite block was found" in done.stdout
    assert (folder / "out.onnx").read_bytes() == (folder / "plain.onnx").read_bytes()


def test_0_when_every_block_is_small_enough(folder):
    done = tse_onnx("convert", "net.onnx", "out.onnx", "--rows", 28, cwd=folder)
    assert done.returncode == 0
    assert b"unchanged" in done.stdout
    assert (folder / "out.onnx").read_bytes() == (folder / "net.onnx").read_bytes()


@pytest.mark.parametrize(("first", "then", "said"), [
    ((), ("--rows", 32), b"No block is taller than a tile; "),
    ((), ("--squeeze", "recompute", "--max-macs", 0), b"0 % of the network's, the limit, have no room for it)"),
    ((), ("--plan", "held.toml"), b"No block could be converted; "),
    ((), ("--exclude", "*"), b"left out by --exclude *)"),
    (("--rows", 3), ("--rows", 7), b"No block was left to tile; "),
])  # fmt: skip
def test_0_when_nothing_is_converted_and_why_is_said(first, then, said, folder):
    model = "digits.onnx"
    models.save("digits_se", folder / model)
    plan = library.Plan(None, {"/3/body/body.6": library.Recompute("logits")})
    (folder / "held.toml").write_text(plan.dumps())
    if first:
        assert tse_onnx("convert", model, model, *first, cwd=folder).returncode == 0
    done = tse_onnx("convert", model, "out.onnx", *then, cwd=folder)
    assert done.returncode == 0
    first_line = done.stdout.splitlines()[0]
    assert said in first_line
    if first:  # and the advice is followed
        assert first_line.endswith(b"--retile converts its blocks anew.")
        done = tse_onnx("convert", model, "out.onnx", *then, "--retile", cwd=folder)
        assert done.stdout.splitlines()[0].startswith(b"Converted 4 blocks")


def test_0_when_nothing_is_converted_what_was_written_is_said(folder):
    original = (folder / "net.onnx").read_bytes()
    tse_onnx("convert", "net.onnx", "tiled.onnx", "--rows", 3, cwd=folder)
    done = tse_onnx("convert", "tiled.onnx", "out.onnx", "--retile", "--exclude", "*", cwd=folder)
    assert b"; the model was written as it was before any conversion to out.onnx." in done.stdout
    assert (folder / "out.onnx").read_bytes() == original
    bound = ("convert", "dynamic.onnx", "out.onnx", "--exclude", "*", "--input-shape", "x:1,8,20,9")
    assert b"the model was written with its inputs bound to out.onnx" in tse_onnx(*bound, cwd=folder).stdout
    assert b"the model was written unchanged to out.onnx" in tse_onnx(*bound, "--dynamic", cwd=folder).stdout
    assert (folder / "out.onnx").read_bytes() == (folder / "dynamic.onnx").read_bytes()


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_1_when_another_number_of_blocks_was_expected(folder, expected):
    line = refused(tse_onnx("convert", "net.onnx", "out.onnx", "--expect", expected, cwd=folder), 1)
    assert "2 blocks" in line
    assert str(expected) in line
    assert not (folder / "out.onnx").exists()


def test_0_when_the_expected_number_was_found(folder):
    assert tse_onnx("convert", "net.onnx", "out.onnx", "--expect", 2, cwd=folder).returncode == 0
    assert tse_onnx("convert", "plain.onnx", "out.onnx", "--expect", 0, cwd=folder).returncode == 0


def test_1_when_the_drift_is_larger_than_allowed(folder):
    line = refused(
        tse_onnx("convert", "net.onnx", "out.onnx", "--max-drift", 1e-9, "--report", "r.json", cwd=folder), 1
    )
    assert "'y'" in line
    assert "1e-09" in line
    assert not (folder / "out.onnx").exists()
    assert not (folder / "r.json").exists()
    assert tse_onnx("convert", "net.onnx", "out.onnx", "--max-drift", 1e9, cwd=folder).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "net.onnx", "out.onnx", "--rows", "0"],
        ["convert", "net.onnx", "out.onnx", "--rows", "-7"],
        ["convert", "net.onnx", "out.onnx", "--rows", "seven"],
        ["report", "net.onnx", "--rows", "0"],
        ["convert", "net.onnx", "out.onnx", "--expect", "-1"],
        ["convert", "net.onnx", "out.onnx", "--seed", "-1"],
        ["convert", "net.onnx", "out.onnx", "--threads", "-1"],
        ["convert", "net.onnx", "out.onnx", "--threads", "99999999999999"],
        ["convert", "net.onnx", "out.onnx", "--max-drift", "-1"],
        ["convert", "net.onnx", "out.onnx", "--max-drift", "nan"],
        ["convert", "net.onnx", "out.onnx", "--max-drift", "1", "--no-verify"],
        ["convert", "net.onnx", "out.onnx", "--preprocess", "inception"],
        ["convert", "net.onnx", "out.onnx", "--data", "missing.npz"],
        ["convert", "net.onnx", "out.onnx", "--report", "net.onnx"],
        ["convert", "net.onnx", "out.onnx", "--report", "out.onnx"],
        ["convert", "net.onnx", "out.onnx", "--report", "./sub/../out.onnx"],
        ["convert", "net.onnx", "out.onnx", "--report", "nowhere/r.json"],
        ["convert", "net.onnx", "out.onnx", "--format", "yaml"],
        ["convert", "net.onnx", "out.onnx", "--no-such-option"],
        ["convert", "net.onnx"],
        ["convert", "net.onnx", "out.onnx", "more.onnx"],
        ["no-such-command"],
        ["convert", "dynamic.onnx", "out.onnx"],
        ["report", "dynamic.onnx"],
        *(["convert", "dynamic.onnx", "out.onnx", "--input-shape", shape] for shape in (
            "", "x", "x:", "1,8,0,9", "1,8,-1,9", "1,8,1.5,9", "1,8,20", "1,8,20,9,1", "y:1,8,20,9", "1,9,20,9",
            "x:1,8,99999999999999999999999,9", "1,8,?,9", "1,8,H,9", "x:1,8,20,9:", "1;8;20;9",
        )),
        ["convert", "dynamic.onnx", "out.onnx", "--input-shape", "x:1,8,20,9", "--input-shape", "x:1,8,21,9"],
        ["convert", "dynamic.onnx", "out.onnx", "--input-shape", "x:1,8,20,9", "--input-shape", "1,8,21,9"],
    ],
    ids=lambda arguments: " ".join(arguments)[:80],
)  # fmt: skip
def test_2_for_bad_usage_in_one_line(folder, arguments):
    before = sorted(os.listdir(folder))
    refused(tse_onnx(*arguments, cwd=folder), 2)
    assert sorted(os.listdir(folder)) == before


def test_the_line_about_an_unknown_height_shows_the_option(folder):
    line = refused(tse_onnx("convert", "dynamic.onnx", "out.onnx", cwd=folder))
    option = line.partition("--input-shape ")[2].split()[0]
    assert tse_onnx("convert", "dynamic.onnx", "out.onnx", "--input-shape", option, cwd=folder).returncode == 0


def _slow_model():
    """A model that takes minutes to verify."""
    weight = np.zeros((64, 64, 3, 3), np.float32)
    convs = [f"c{n + 1} = Conv<pads = [1, 1, 1, 1]>(c{n}, big)" for n in range(60)]
    body = "\n".join(["c0 = Conv(x, first)", *convs, "d = GlobalAveragePool(c60)", "r = Conv(d, w1)", "a = Relu(r)",
                      "e = Conv(a, w1)", "g = Sigmoid(e)", "y = Mul(c60, g)"])  # fmt: skip
    weights = {"first": np.zeros((64, 3, 1, 1), np.float32), "big": weight, "w1": np.zeros((64, 64, 1, 1), np.float32)}
    return text_model(body, weights, inputs="float[N, 3, 256, 256] x", outputs="float[N, 64, 256, 256] y")


def test_an_interrupt_after_the_output_has_its_name_says_so(folder, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tse_onnx.report.convert.ReportView.print", interrupted)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main(["convert", "se.onnx", "out.onnx"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted: out.onnx was written.\n"
    assert (folder / "out.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
@pytest.mark.slow
def test_130_or_143_when_stopped_in_mid_verification(folder, sent, code):
    onnx.save(_slow_model(), folder / "slow.onnx")
    np.save(folder / "many.npy", np.zeros((400, 3, 256, 256), np.float16))
    (folder / "out.onnx").write_bytes(b"what was there before")
    before = sorted(os.listdir(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "tse_onnx", "convert", "slow.onnx", "out.onnx", "--data", "many.npy", "--threads", "1"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    while sorted(os.listdir(folder)) == before:  # the output is staged just before it is verified
        assert process.poll() is None, process.stderr.read()
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.decode().splitlines() == ["Interrupted: nothing was written."]
    assert not out
    assert sorted(os.listdir(folder)) == before
    assert (folder / "out.onnx").read_bytes() == b"what was there before"


# Streams


def test_a_model_through_standard_input_and_output(folder):
    data = (folder / "net.onnx").read_bytes()
    piped = tse_onnx("convert", "-", "-", stdin=data)
    assert piped.returncode == 0
    assert b"Converted 2 blocks" in piped.stderr
    assert tse_onnx("convert", "net.onnx", "out.onnx", cwd=folder).returncode == 0
    assert piped.stdout == (folder / "out.onnx").read_bytes()
    found = validated(tse_onnx("inspect", "-", "--format", "json", stdin=data).stdout, "inspect")
    assert len(found["blocks"]) == 4
    assert (
        validated(tse_onnx("report", "-", "--format", "json", stdin=data).stdout, "report")["totals"]["converted"] == 2
    )


def test_nothing_but_the_model_on_standard_output(folder):
    done = tse_onnx("convert", "net.onnx", "-", "--format", "json", "--no-verify", cwd=folder)
    assert done.returncode == 0
    assert ModelProto.FromString(done.stdout).graph.node


@pytest.mark.slow
def test_json_goes_where_the_report_goes(folder):
    done = tse_onnx("convert", "net.onnx", "-", "--format", "json", cwd=folder)
    assert ModelProto.FromString(done.stdout).graph.node
    assert validated(done.stderr, "report")["totals"]["converted"] == 2
    np.save(folder / "data.npy", np.random.default_rng(0).standard_normal((4, 8, 28, 12)).astype(np.float32))
    words = ["tune", "net.onnx", "--data", "data.npy", "--reduce", "30%", "--no-cache", "--format", "json", "-o"]
    done = tse_onnx(*words, "-", cwd=folder)
    assert validated(done.stderr, "tune")["schema"].startswith("tse-onnx/tune/")
    assert tse_onnx(*words, "plan.toml", cwd=folder).returncode == 0
    assert done.stdout == (folder / "plan.toml").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["convert", "net.onnx", "-"], ["convert", "net.onnx", "-", "--format", "json"], ["restore", "net.onnx", "-"]],
)
def test_no_model_is_poured_on_a_terminal(folder, words):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tse_onnx"]
    done = subprocess.run([*command, *words], cwd=folder, stdout=follower, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == b"Error: a model is not written to a terminal: name a file, or send it on with > or |\n"
    if words[0] == "convert":
        named = [*command, words[0], words[1], os.ttyname(follower)]
        done = subprocess.run(named, cwd=folder, capture_output=True)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"is not written to a terminal" in done.stderr
    os.set_blocking(leader, False)
    with pytest.raises(BlockingIOError):
        os.read(leader, 1)
    os.close(leader)
    os.close(follower)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["inspect", "-"], ["convert", "-", "out.onnx"], ["restore", "-", "out.onnx"]])
def test_no_model_is_awaited_from_a_terminal(folder, words):
    leader, follower = pty.openpty()
    done = subprocess.run([sys.executable, "-m", "tse_onnx", *words], cwd=folder, stdin=follower, capture_output=True)
    os.close(leader)
    os.close(follower)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"Error: a model is not read from a terminal: name a file, or send one in with < or |\n"


@pytest.mark.slow
def test_a_plan_is_text_and_may_be_read_on_a_terminal(folder):
    assert b"rows = 7" in _on_a_terminal(["plan", "net.onnx"], folder)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stdin to stdout", "stdin to file", "file to stdout", "pipe to file"])
def test_an_unchanged_model_keeps_its_bytes_on_every_way(folder, way):
    """Bytes in an order that no serialiser writes, with a field that this version of onnx does not know."""
    model = plain_model()
    graph = ModelProto(graph=model.graph).SerializeToString()
    model.ClearField("graph")
    odd = b"\xfa\x7f\x03abc"  # field 2047
    data = graph + odd + model.SerializeToString()
    assert ModelProto.FromString(data).SerializeToString() != data
    (folder / "odd.onnx").write_bytes(data)
    out = folder / "out.onnx"
    if way == "stdin to stdout":
        found = tse_onnx("convert", "-", "-", stdin=data).stdout
    elif way == "file to stdout":
        found = tse_onnx("convert", folder / "odd.onnx", "-").stdout
    elif way == "stdin to file":
        assert tse_onnx("convert", "-", out, stdin=data).returncode == 0
        found = out.read_bytes()
    else:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        done = tse_onnx("convert", f"/dev/fd/{reading}", out, pass_fds=[reading])
        assert done.returncode == 0, done.stderr
        found = out.read_bytes()
    assert found == data


@pytest.mark.slow
@pytest.mark.parametrize("command", [["inspect"], ["report"], ["inspect", "--format", "json"]])
def test_a_full_disk_behind_standard_output_is_one_line(folder, command):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "tse_onnx", command[0], "net.onnx", *command[1:]],
                              cwd=folder, stdout=full, stderr=subprocess.PIPE)  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.decode().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("output", [["net.onnx", "out.onnx"], ["net.onnx", "-"]])
def test_a_reader_that_went_away_is_no_failed_check(folder, output):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-m", "tse_onnx", "convert", *output, "--no-verify"],
                              cwd=folder, stdout=writing, stderr=subprocess.PIPE)  # fmt: skip
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert not done.stderr


def _on_a_terminal(arguments, folder, **env):
    """What a command writes to a terminal."""
    leader, follower = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    env = clean | {"TERM": "xterm-256color", "COLUMNS": "100"} | env
    command = [sys.executable, "-m", "tse_onnx", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(leader)
    assert process.wait() == 0
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["inspect", "net.onnx"], ["report", "net.onnx"], ["convert", "net.onnx", "o.onnx"]]
)
def test_escape_codes_only_on_terminals_that_want_them(folder, arguments):
    assert b"\x1b[" in _on_a_terminal(arguments, folder)
    assert b"\x1b" not in _on_a_terminal(arguments, folder, NO_COLOR="1")
    assert b"\x1b" not in tse_onnx(*arguments, cwd=folder).stdout


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_the_terminal_will_do(folder, encoding):
    for command in (["inspect", "net.onnx"], ["convert", "net.onnx", "ö.onnx", "--no-verify"]):
        done = tse_onnx(*command, cwd=folder, env={"PYTHONIOENCODING": encoding})
        assert done.returncode == 0


def test_a_table_in_a_pipe_is_never_cut(folder):
    model = network(28, 14)
    for node in model.graph.node:
        node.name = f"{'long' * 100}/{node.name}"
    onnx.save(model, folder / "long.onnx")
    shown = tse_onnx("inspect", "long.onnx", cwd=folder).stdout.decode()
    assert "…" not in shown
    assert f"{'long' * 100}/block0_squeeze" in shown


def test_help_and_version():
    assert tse_onnx("--version").stdout.decode().splitlines()[0] == f"tse-onnx {library.__version__}"
    for command in ([], ["convert"], ["inspect"], ["report"]):
        done = tse_onnx(*command, "--help")
        assert done.returncode == 0
        assert b"Examples:" in done.stdout
