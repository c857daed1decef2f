"""A command and its function have one name, and names of before go on with a warning."""

import inspect
import warnings
from pathlib import Path

import pytest

import tse_onnx
from tse_onnx.cli.headings import COMMANDS

NAMES = [name for told in COMMANDS.values() for name in told]
# Rooms of the package, or what people write in files: docs/library.md says what stands for them.
OTHERWISE = {"report": "buffering", "plan": "Plan", "targets": "Target"}


@pytest.mark.parametrize("name", NAMES)
def test_a_command_is_a_function(name):
    text = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
    section = text.split("\n## Commands and functions\n")[1].split("\n## ")[0]
    assert f"`{name}`" in section
    if name in OTHERWISE:
        assert OTHERWISE[name] in tse_onnx.__all__
        assert f"`{OTHERWISE[name]}`" in section
    else:
        assert name in tse_onnx.__all__
        assert inspect.isfunction(getattr(tse_onnx, name))


def test_a_name_of_before_is_the_new_one_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"tse_onnx\.dataflow is called tse_onnx\.stream now"):
        old = tse_onnx.dataflow
    assert old is tse_onnx.stream
    assert "dataflow" not in dir(tse_onnx)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tse_onnx.stream is old
