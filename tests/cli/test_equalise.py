"""`tse-onnx equalise`: what it says, what it writes, and its exit codes."""

import onnx
import pytest

import models
from tests.command import tse_onnx


@pytest.fixture
def folder(tmp_path):
    models.save("digits_se", tmp_path / "digits.onnx")
    return tmp_path


@pytest.mark.parametrize("options", [(), ("--powers-of-two",)])
def test_there_and_back(folder, options):
    done = tse_onnx("equalise", "digits.onnx", "made.onnx", *options, cwd=folder)
    assert done.returncode == 0
    said = done.stdout.decode()
    assert "Verified: 1 output" in said
    assert ("bit for bit" in said) == bool(options)
    given, made = onnx.load(folder / "digits.onnx"), onnx.load(folder / "made.onnx")
    assert [node.SerializeToString() for node in made.graph.node] == [
        node.SerializeToString() for node in given.graph.node
    ]
    back = tse_onnx("restore", "made.onnx", "made.onnx", cwd=folder)
    assert "Restored the scales of all layers" in back.stdout.decode()
    assert (folder / "made.onnx").read_bytes() == (folder / "digits.onnx").read_bytes()


def test_through_pipes(folder):
    piped = tse_onnx("equalise", "-", "-", cwd=folder, stdin=(folder / "digits.onnx").read_bytes())
    assert piped.returncode == 0
    tse_onnx("equalise", "digits.onnx", "out.onnx", cwd=folder)
    assert piped.stdout == (folder / "out.onnx").read_bytes()
    assert "The model was written to standard output" in piped.stderr.decode()


def test_where_there_is_nothing_to_do_the_model_stays_and_says_why(folder):
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)'
    weights = "<float[1, 1, 1, 1] w = {2}>"
    onnx.save(
        onnx.parser.parse_model(f"{text} {weights} {{ h = Conv(x, w) s = HardSwish(h) y = Neg(s) }}"),
        folder / "net.onnx",
    )
    done = tse_onnx("equalise", "net.onnx", "out.onnx", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "Left h: HardSwish is not positively homogeneous: what goes in scaled does not come out scaled (first at HardSwish 's').",
        "No scale was exchanged; the model was written unchanged to out.onnx.",
    ]
    assert (folder / "out.onnx").read_bytes() == (folder / "net.onnx").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.onnx", "out.onnx"], "nowhere.onnx"),
        (["digits.onnx", "out.onnx", "--input-shape", "nobody:1,1,32,32"], "no input of the model"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, words, said):
    done = tse_onnx("equalise", *words, cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "out.onnx").exists()
