"""The networks that hls4ml judges: the table in the documentation has what is exported for them today."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.hls4ml import __main__ as command
from benchmarks.hls4ml.network import NETWORKS, network
from tse_onnx.streaming.handover import hls4ml_depths
from tse_onnx.streaming.network.read import network_of

PAGE = Path(__file__).parents[2] / "docs" / "dataflow.md"
ROW = re.compile(r"^\| (.+) \| (\d+) \| (`.+`.*) \| ([\d, ]+) \| yes \|$", re.MULTILINE)


def test_what_hls4ml_found_is_what_is_exported():
    rows = {name: (found, exported) for name, _, found, exported in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert list(rows) == list(NETWORKS)
    for name, (found, exported) in rows.items():
        depths = {stream: depth for stream, depth in hls4ml_depths(network_of(network(name))).items() if depth > 1}
        assert {stream: int(depth) for stream, depth in re.findall(r"`(\w+)` (\d+)", found)} == depths
        assert sorted(map(int, exported.split(", "))) == sorted(depths.values())


def test_what_is_missing_is_said(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command.main([]) == 0
    assert "pip install '.[hls4ml]'" in capsys.readouterr().out


def test_a_name_of_no_network(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["no such network"])
    assert ended.value.code == 2
    assert "there is no network called no such network" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("hls4ml") is None or shutil.which("g++") is None, reason="hls4ml or g++ is not here"
)
def test_hls4ml_agrees(capsys):
    assert command.main(["residual, the skip read second"]) == 0
    assert "| `clone_s_cpy2` 9 | 9 | yes |" in capsys.readouterr().out
