"""What the wheels of others carry is looked for, counted without the matcher, converted and restored."""

from __future__ import annotations

import zipfile
from pathlib import Path

import onnx
import pytest

from models.zoo import published
from models.zoo.__main__ import main

GRAPH = """
<ir_version: 8, opset_import: ["" : 13], producer_name: "stranger", producer_version: "1.0">
network (float[N, 3, H, W] image) => (float[N, 3, H, W] y, float[N, 3] classes)
<float[2, 3, 1, 1] w1 = {1, -2, 3, 4, 5, -6}, float[3, 2, 1, 1] w2 = {1, 2, -1, 1, 0.5, 1},
 float[1, 3, 1, 1] fixed = {1, 2, 3}, float one = {1}>
{
    mean = GlobalAveragePool (image)
    small = Conv (mean, w1)
    active = Relu (small)
    wide = Conv (active, w2)
    gate = Sigmoid (wide)
    scaled = Mul (gate, image)
    constant = Mul (scaled, fixed)
    sharp = Sigmoid (constant)
    swish = Mul (constant, sharp)
    squeezed = GlobalAveragePool (swish)
    twice = Mul (squeezed, squeezed)
    classes = Flatten (twice)
    coarse = GlobalMaxPool (swish)
    other = Sigmoid (coarse)
    y = Mul (swish, other)
}
"""


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> published.Wheel:
    """A wheel in the cache, so that pip has nothing to fetch, with one model whose sizes are open."""
    model = onnx.parser.parse_model(GRAPH)
    with zipfile.ZipFile(tmp_path / "by_others-1.2-py3-none-any.whl", "w") as archive:
        archive.writestr("by_others/models/small.onnx", model.SerializeToString())
        archive.writestr("by_others/__init__.py", "")
    made = published.Wheel("by-others", "1.2", (("small*", (2, 3, 20, 9)),))
    monkeypatch.setattr(published, "WHEELS", (made,))
    return made


def test_a_wheel_is_looked_through(
    wheel: published.Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["zoo", "published", str(tmp_path)])
    assert main() == 0
    (result,) = published.load(tmp_path)
    assert (result.wheel, result.file, result.opset, result.producer) == (wheel.title, "small.onnx", 13, "stranger 1.0")
    assert result.gates == 2, "the block, and the maximum that gates as well"
    assert result.found == {"se": 1}
    assert result.refused == {"output": 1, "axes": 1}
    assert result.converted == {"3": 1, "7": 1}
    assert result.restored == ("3", "7")
    assert not result.failures
    monkeypatch.setattr("sys.argv", ["zoo", "table", str(tmp_path)])
    capsys.readouterr()
    assert main() == 0
    printed = capsys.readouterr().out
    assert "| by-others==1.2 | small.onnx | stranger 1.0 | 13 | 2 | 1 se | 1 axes, 1 output | 2 of 2 |" in printed
    assert "| all | 1 files | | | 2 | 1 se | 1 axes, 1 output | 2 of 2 |" in printed


def test_other_wheels_can_be_named(wheel: published.Wheel, tmp_path: Path) -> None:
    published.make(tmp_path, ["another"])
    assert not list(published.load(tmp_path))


def test_a_file_that_fails_is_told(wheel: published.Wheel, tmp_path: Path) -> None:
    open_sizes = published.Wheel(wheel.name, wheel.version)
    (path,) = published.unpacked(published.fetched(open_sizes, tmp_path), tmp_path / "out")
    result = published.tried(path, open_sizes)
    assert result.gates is None, "without sizes nothing runs"
    assert set(result.failures) == {"3", "7"}
    assert "3 rows: " in published.table([result])
