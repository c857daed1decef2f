"""What a command finds out about a model it finds out once: onnx's inference costs as much as much of the rest."""

from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

import models
from tse_onnx.cli import main

NAME = "mobilenetv3_large_torchscript_18.onnx"


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (("inspect", NAME), 1),
        (("report", NAME, "--no-dataflow"), 1),
        (("report", NAME), 3),  # the model, and what it would become, which a guard may infer twice
        (("stream", NAME, "--no-run"), 1),
        (("convert", NAME, "out.onnx", "--no-verify"), 1),
    ],
)
def test_types_are_inferred_once(words, most, monkeypatch, tmp_path):
    runs, infer = [], onnx.shape_inference.infer_shapes

    def counted(*arguments, **named):
        runs.append(arguments)
        return infer(*arguments, **named)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    places = {NAME: Path(models.__file__).parent / NAME, "out.onnx": tmp_path / "out.onnx"}
    done = CliRunner().invoke(main, [str(places.get(word, word)) for word in words])
    assert done.exit_code == 0, done.output
    assert 0 < len(runs) <= most
