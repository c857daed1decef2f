"""What a command finds out about a model it finds out once: onnx's inference costs as much as much of the rest."""

import onnx
import pytest
from click.testing import CliRunner

import models
from tse_onnx.cli import main
from tse_onnx.conversion.convert import draft

NAME = "mobilenetv3_large_torchscript_18.onnx"
SLICED = "ghostnet_torchscript_20.onnx"  # has Slices behind its blocks
CROPPED = "digits_se.onnx"  # gets Slices, since its tiles do not divide its maps


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (("inspect", NAME), 1),
        (("report", NAME, "--no-dataflow"), 1),
        (("stream", NAME, "--no-run"), 1),
        (("convert", NAME, "out.onnx", "--no-verify"), 1),
        *((("convert", name, "out.onnx", "--no-dataflow"), 1) for name in (NAME, SLICED, CROPPED)),
        *((("convert", name, "out.onnx"), 2) for name in (NAME, SLICED, CROPPED)),
        *((("report", name), 2) for name in (NAME, SLICED, CROPPED)),  # the model, and what it would become
    ],
)
def test_types_are_inferred_once(words, most, monkeypatch, tmp_path):
    runs, infer = [], onnx.shape_inference.infer_shapes

    def counted(*arguments, **named):
        runs.append(arguments)
        return infer(*arguments, **named)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    monkeypatch.chdir(tmp_path)
    onnx.save(models.load(words[1].removesuffix(".onnx")), words[1])  # with its weights, which are not bundled
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert 0 < len(runs) <= most


def test_nothing_is_trusted_where_a_size_of_the_original_comes_out_negative():
    """A run is spared only where what the edits cut and spread has sound sizes."""
    model = models.load("digits_se")
    sound = draft(model, rows=7)
    assert sound.trusted()
    there = {name for node in model.graph.node for name in node.output}
    assert not sound.trusted() & there
    model.graph.node.append(onnx.helper.make_node("MaxPool", [model.graph.input[0].name], ["w"], kernel_shape=[99, 99]))
    assert draft(model, rows=7).trusted() == frozenset()
