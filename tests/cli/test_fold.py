"""`tse-onnx fold`: what it says, what it writes, and its exit codes."""

import onnx
import pytest

import models
from tests.command import refused, tse_onnx, validated
from tse_onnx.passes.edit.splice import Change
from tse_onnx.verification.outside import outside_differences

CONV = "/4/body/body.3/Conv"


@pytest.fixture
def folder(tmp_path):
    models.save("digits_se", tmp_path / "digits.onnx")
    return tmp_path


def test_there_and_back(folder):
    done = tse_onnx("fold", "digits.onnx", "folded.onnx", "--node", CONV, "--factor", 2, cwd=folder)
    assert done.returncode == 0
    assert f"Folded {CONV} by 2: 3 × 3 with stride 2 became 2 × 2 with stride 1" in done.stdout.decode()
    given, made = onnx.load(folder / "digits.onnx"), onnx.load(folder / "folded.onnx")
    assert outside_differences(given, made, [Change((), ())])
    kept = {node.name: node.SerializeToString() for node in made.graph.node}
    changed = [node.name for node in given.graph.node if kept.get(node.name) != node.SerializeToString()]
    assert changed == [CONV]
    tse_onnx("fold", "folded.onnx", "folded.onnx", "--unfold", cwd=folder)
    back = onnx.load(folder / "folded.onnx")
    assert [node.name for node in back.graph.node] == [node.name for node in given.graph.node]
    assert [node.op_type for node in back.graph.node] == [node.op_type for node in given.graph.node]


def test_through_pipes(folder):
    piped = tse_onnx("fold", "-", "-", cwd=folder, stdin=(folder / "digits.onnx").read_bytes())
    assert piped.returncode == 0
    tse_onnx("fold", "digits.onnx", "out.onnx", cwd=folder)
    assert piped.stdout == (folder / "out.onnx").read_bytes()
    assert "The model was written to standard output" in piped.stderr.decode()


def test_where_there_is_nothing_to_do_the_model_stays_and_says_why(folder):
    done = tse_onnx("fold", "digits.onnx", "out.onnx", "--factor", 3, cwd=folder)
    assert done.returncode == 0
    assert f"Left {CONV}: its strides of 2 × 2 are not multiples of 3." in done.stdout.decode()
    assert "No convolution was folded" in done.stdout.decode()
    assert (folder / "out.onnx").read_bytes() == (folder / "digits.onnx").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--node", "nobody"], "the model's main graph has no Conv 'nobody'"),
        (["--node", "/0/Conv"], "'/0/Conv' stays as it is: its strides of 1 × 1 have no factor in common"),
        (["--node", CONV, "--unfold"], "no SpaceToDepth or Reshape, Transpose, Reshape folds the map"),
        (["--factor", "1"], "--factor"),
        (["--input-shape", "nobody:1,1,32,32"], "no input of the model"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(folder, options, said):
    done = tse_onnx("fold", "digits.onnx", "out.onnx", *options, cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "out.onnx").exists()


def test_the_object_says_what_is_printed(folder):
    done = tse_onnx("fold", "digits.onnx", "folded.onnx", "--node", CONV, "--format", "json", cwd=folder)
    found = validated(done.stdout, "fold")
    (one,) = found["changed"]
    assert (one["name"], one["factor"], found["direction"]) == (CONV, 2, "fold")
    assert (one["before"]["kernel"], one["after"]["kernel"]) == ([3, 3], [2, 2])
    assert (one["before"]["stride"], one["after"]["stride"]) == ([2, 2], [1, 1])
    assert 0 < one["error"] < 1
    for name, when in (("digits.onnx", "before"), ("folded.onnx", "after")):
        flow = validated(tse_onnx("stream", name, "--no-run", "--format", "json", cwd=folder).stdout, "stream")[
            "dataflow"
        ]
        held = {buffer["tensor"]: buffer["min"]["rows"] for buffer in flow["tensors"]}
        maps = (one["input"], one["map"])
        assert one[when]["rows_held"] == {tensor: held[tensor] for tensor in maps if tensor in held}
        assert found["held_bytes"][when] == flow["totals"]["min"]["bytes"]
    assert found["verified"]
    unproved = tse_onnx("fold", "digits.onnx", "-", "--no-verify", "--format", "json", cwd=folder)
    told = validated(unproved.stderr, "fold")
    assert not told["verified"]
    assert {one["error"] for one in told["changed"]} == {None}
    kept = tse_onnx("fold", "digits.onnx", "out.onnx", "--factor", 3, "--format", "json", cwd=folder)
    assert [left["name"] for left in validated(kept.stdout, "fold")["left"]] == [CONV, "/6/body/body.3/Conv"]


def test_a_report_to_share(folder):
    done = tse_onnx("fold", "digits.onnx", "folded.onnx", "--html", "fold.html", cwd=folder)
    assert done.returncode == 0
    assert f"Folded {CONV} by 2" in (folder / "fold.html").read_text()
    said = refused(tse_onnx("fold", "digits.onnx", "out.onnx", "--html", "out.onnx", cwd=folder))
    assert "--html would overwrite OUTPUT" in said
