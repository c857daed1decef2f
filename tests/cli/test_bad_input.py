"""Bad input: one clear line, the right exit code, nothing written, no traceback."""

import os

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, plain_model, se_body, se_model, se_weights, some_input, text_model
from tests.running import run

DATA = network(28, 14).SerializeToString()


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def _every_command(folder, model, code=2):
    """The lines of all three commands, none of which may write anything."""
    before = sorted(os.listdir(folder))
    lines = [
        refused(command(*words, cwd=folder), code)
        for words in (["inspect", model], ["report", model], ["convert", model, "out.onnx"],
                      ["convert", model, "out.onnx", "--no-verify"], ["convert", model, model, "--report", "r.json"])
    ]  # fmt: skip
    assert sorted(os.listdir(folder)) == before
    return lines


CONTENTS = {
    "empty": b"",
    "text": b"this is not a model\n",
    "json": b'{"ir_version": 8}',
    "zip": b"PK\x03\x04" + bytes(60),
    "zeros": bytes(1000),
    "another protobuf": helper.make_tensor("t", TensorProto.FLOAT, [2], [1, 2]).SerializeToString(),
    "a model without a graph": ModelProto(ir_version=8).SerializeToString(),
    "a model without opsets": ModelProto(ir_version=8, graph=se_model().graph).SerializeToString(),
    "a graph without nodes": helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_model(folder, content):
    (folder / "bad.onnx").write_bytes(CONTENTS[content])
    for line in _every_command(folder, "bad.onnx"):
        assert "bad.onnx" in line
    refused(command("inspect", "-", stdin=CONTENTS[content]))
    refused(command("convert", "-", "-", stdin=CONTENTS[content]))


def test_a_missing_file_and_a_directory(folder):
    (folder / "dir.onnx").mkdir()
    for name in ("missing.onnx", "dir.onnx", "no/such/folder.onnx", ""):
        refused(command("inspect", name, cwd=folder))
        refused(command("convert", name, "out.onnx", cwd=folder))
    assert os.listdir(folder) == ["dir.onnx"]


# The last bytes of a model are its list of opsets: cut there, what is left may be a whole model without it.
@pytest.mark.parametrize("length", sorted({*np.random.default_rng(0).integers(1, len(DATA) - 1, 60).tolist(), 1, 2, 3}))
def test_a_model_that_is_cut_short(folder, length):
    (folder / "cut.onnx").write_bytes(DATA[:length])
    before = os.listdir(folder)
    assert "cut.onnx" in refused(command("convert", "cut.onnx", "out.onnx", cwd=folder))
    refused(command("inspect", "cut.onnx", cwd=folder))
    assert os.listdir(folder) == before


@settings(max_examples=150)
@given(edits=st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_model_with_flipped_bytes_is_converted_or_refused(edits):
    """Whatever the bytes: a result, or one of the package's own errors."""
    data = bytearray(DATA)
    for position, value in edits:
        data[position] = value
    done = command("convert", "-", "-", "--no-verify", stdin=bytes(data))
    assert done.returncode in (0, 2)
    if done.returncode:
        refused(done)


@settings(max_examples=40)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    refused(command("inspect", "-", stdin=data))


def test_text_that_is_not_utf8_in_a_model(folder):
    (folder / "bad.onnx").write_bytes(DATA.replace(b"block0_squeeze", b"block0\xff\xfe\xc3queez"))
    for words in (["inspect", "bad.onnx"], ["convert", "bad.onnx", "out.onnx"]):
        done = command(*words, cwd=folder)
        assert done.returncode in (0, 2)
        assert len(done.stderr.splitlines()) == (done.returncode == 2)


@pytest.mark.parametrize("swap", [(1, 2), (0, 1), (0, 7), (5, 6)])
def test_an_unsorted_graph_is_converted_as_the_sorted_one_is(folder, swap):
    """onnx's checker refuses such a model, onnxruntime runs it, and its fp16 converter writes it."""
    model = se_model()
    nodes = list(model.graph.node)
    first, second = swap
    nodes[first], nodes[second] = nodes[second], nodes[first]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "unsorted.onnx")
    assert command("convert", "unsorted.onnx", "out.onnx", "--expect", 1, cwd=folder).returncode == 0
    x = some_input(model)
    np.testing.assert_array_equal(run(str(folder / "out.onnx"), x), run(tse_onnx.convert(se_model()).model, x))


def test_a_graph_that_goes_in_a_circle(folder):
    model = se_model()
    model.graph.node[0].input[0] = "s"
    onnx.save(model, folder / "circle.onnx")
    _every_command(folder, "circle.onnx")


def _foreign(model, domain="vendor.com"):
    model.opset_import.add(domain=domain, version=3)
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Magic", domain
    return model


def test_operators_that_onnxruntime_does_not_know(folder):
    model = _foreign(se_model())
    onnx.save(model, folder / "foreign.onnx")
    line = refused(command("convert", "foreign.onnx", "out.onnx", cwd=folder))
    assert "Magic" in line
    assert "--no-verify" in line
    assert os.listdir(folder) == ["foreign.onnx"]
    assert command("convert", "foreign.onnx", "out.onnx", "--no-verify", cwd=folder).returncode == 0
    converted = onnx.load(folder / "out.onnx")
    assert converted.graph.node[-1].SerializeToString() == model.graph.node[-1].SerializeToString()
    assert list(converted.opset_import) == list(model.opset_import)
    found = validated(command("inspect", "foreign.onnx", "--format", "json", cwd=folder).stdout, "inspect")
    assert [block["status"] for block in found["blocks"]] == ["convertible"]


def test_a_model_that_is_written_unchanged_need_not_run(folder):
    onnx.save(_foreign(plain_model()), folder / "foreign.onnx")
    onnx.save(plain_model("H", "W"), folder / "dynamic.onnx")  # one pixel of noise is too small for its kernel
    for name in ("foreign.onnx", "dynamic.onnx"):
        assert command("convert", name, "out.onnx", cwd=folder).returncode == 0
        assert (folder / "out.onnx").read_bytes() == (folder / name).read_bytes()


def test_a_model_that_is_not_valid_is_bad_input_and_no_failed_check(folder):
    model = se_model()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, folder / "invalid.onnx")
    assert "not valid" in refused(command("convert", "invalid.onnx", "out.onnx", cwd=folder))
    assert command("convert", "invalid.onnx", "out.onnx", "--no-verify", cwd=folder).returncode == 0


@pytest.mark.parametrize("height", [0, -1, -(2**40), 2**62])
def test_absurd_heights_in_a_model(folder, height):
    model = se_model()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[2].dim_value = height
    onnx.save(model, folder / "odd.onnx")
    before = sorted(os.listdir(folder))
    done = command("convert", "odd.onnx", "out.onnx", "--expect", 1, cwd=folder)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(folder)) == before
    command("inspect", "odd.onnx", cwd=folder)
    command("report", "odd.onnx", cwd=folder)


def test_an_input_without_a_shape_can_be_bound(folder):
    model = se_model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        dim.Clear()
    onnx.save(model, folder / "open.onnx")
    assert "--input-shape x:" in refused(command("convert", "open.onnx", "out.onnx", cwd=folder))
    done = command("convert", "open.onnx", "out.onnx", "--input-shape", "x:2,8,16,12", "--expect", 1, cwd=folder)
    assert done.returncode == 0, done.stderr


ESCAPES = "\x1b[31m\x1b]0;title\x07\n\r\x9b2J\u202e"


def test_terminal_escapes_in_names_are_shown_and_not_sent(folder):
    model = se_model()
    for node in model.graph.node:
        node.name = f"{node.op_type}{ESCAPES}"
    model.graph.input[0].name = model.graph.node[0].input[0] = f"x{ESCAPES}"
    model.graph.output[0].name = model.graph.node[-1].output[0] = f"y{ESCAPES}"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = f"N{ESCAPES}"
    model.graph.name = f"g{ESCAPES}"
    onnx.save(model, folder / "escapes.onnx")
    dynamic = ModelProto.FromString(model.SerializeToString())
    dynamic.graph.input[0].type.tensor_type.shape.dim[2].dim_param = f"H{ESCAPES}"
    dynamic.graph.output[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    onnx.save(dynamic, folder / "dynamic.onnx")
    np.save(folder / "bad.npy", np.zeros((1, 2), np.float32))
    for words in (
        ["inspect", "escapes.onnx"], ["inspect", "escapes.onnx", "--format", "json"], ["report", "escapes.onnx"],
        ["convert", "escapes.onnx", "out.onnx", "--format", "json"], ["convert", "escapes.onnx", "out.onnx"],
        ["convert", "escapes.onnx", "out.onnx", "--max-drift", "0"], ["convert", "dynamic.onnx", "out.onnx"],
        ["convert", "escapes.onnx", "out.onnx", "--data", "bad.npy"], ["convert", "escapes.onnx", f"{ESCAPES}/o.onnx"],
        ["convert", "escapes.onnx", "out.onnx", "--input-shape", f"{ESCAPES}:1"], ["inspect", f"no{ESCAPES}"],
        ["convert", "escapes.onnx", "out.onnx", f"--{ESCAPES}"], [f"no{ESCAPES}"],
        ["convert", "escapes.onnx", "out.onnx", "--data", f"no{ESCAPES}"],
    ):  # fmt: skip
        done = command(*words, cwd=folder)
        for text in (done.stdout.decode(), done.stderr.decode()):
            assert not set(text) & set("\x1b\x07\r\x9b\u202e"), words
        if done.returncode:
            assert len(done.stderr.splitlines()) == 1


def test_a_file_name_that_is_no_text(folder):
    name = os.fsdecode(b"caf\xe9-\xff.onnx")
    (folder / name).write_bytes(se_model().SerializeToString())
    for words in (["inspect", name], ["inspect", name, "--format", "json"], ["convert", name, name]):
        assert command(*words, cwd=folder).returncode == 0


def test_blocks_in_a_model_with_many_unrelated_nodes(folder):
    """Markup of the terminal's library in names is text."""
    model = network(28, 14)
    for node in model.graph.node:
        node.name = f"[bold red]{node.name}[/nothing]"
    onnx.save(model, folder / "markup.onnx")
    assert "[bold red]block0_squeeze[/nothing]" in command("inspect", "markup.onnx", cwd=folder).stdout.decode()


def test_a_newer_opset_than_any_is_one_line(folder):
    model = se_model()
    model.opset_import[0].version = 999
    onnx.save(model, folder / "new.onnx")
    done = command("convert", "new.onnx", "out.onnx", cwd=folder)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(folder) == ["new.onnx"]


def test_doubles_that_onnxruntime_does_not_run_are_one_line(folder):
    onnx.save(se_model(dtype=np.float64, squeeze="ReduceMean [2,3]"), folder / "double.onnx")
    assert "--no-verify" in refused(command("convert", "double.onnx", "out.onnx", cwd=folder))


def test_an_input_of_strings_or_of_no_tensor(folder):
    body = f"h = LeakyRelu(x)\n{se_body()}\n y = Neg(s)\n"
    strings = text_model(body + "t = Identity(u)", se_weights(), inputs="float[N, 8, 16, 12] x, string[1] u",
                         outputs="float[N, 8, 16, 12] y, string[1] t")  # fmt: skip
    sequence = text_model(body + "t = SequenceLength(u)", se_weights(),
                          inputs="float[N, 8, 16, 12] x, seq(float[]) u",
                          outputs="float[N, 8, 16, 12] y, int64[] t")  # fmt: skip
    for model in (strings, sequence):
        onnx.save(model, folder / "m.onnx")
        refused(command("convert", "m.onnx", "out.onnx", cwd=folder))
        assert command("convert", "m.onnx", "out.onnx", "--no-verify", cwd=folder).returncode == 0
        os.remove(folder / "out.onnx")


@pytest.mark.parametrize(("words", "said"), [
    (("profile", "m.onnx", "--csv", "m.onnx"), "--csv would overwrite MODEL"),
    (("profile", "m.onnx", "t.onnx", "--csv", "./t.onnx"), "--csv would overwrite CONVERTED"),
    (("report", "m.onnx", "--html", "link.onnx"), "--html would overwrite MODEL"),
    (("convert", "m.onnx", "out.onnx", "--report", "out.onnx"), "--report would overwrite OUTPUT"),
    (("convert", "m.onnx", "out.onnx", "--report", "r", "--html", "r"), "--html would overwrite --report"),
    (("sensitivity", "m.onnx", "--data", "d.npy", "--csv", "m.onnx"), "--csv would overwrite MODEL"),
])  # fmt: skip
def test_a_result_takes_the_place_of_no_model(folder, words, said):
    for name in ("m.onnx", "t.onnx"):
        (folder / name).write_bytes(DATA)
    os.symlink("m.onnx", folder / "link.onnx")
    np.save(folder / "d.npy", np.zeros((2, 8, 28, 14), np.float32))
    before = sorted(os.listdir(folder))
    assert said in refused(command(*words, cwd=folder))
    assert sorted(os.listdir(folder)) == before
    assert (folder / "m.onnx").read_bytes() == (folder / "t.onnx").read_bytes() == DATA
