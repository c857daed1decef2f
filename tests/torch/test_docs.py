"""The examples of docs/training.md, in order, in one folder and one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_examples_run(tmp_path, monkeypatch, pytorch_hub):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "example"}
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), namespace)
