"""Table 1 of the paper (RegNetY-800MF, 224 × 224), from the bundled graph.

Vosco, Shenkler, Grobman, "Tiled Squeeze-and-Excite: Channel Attention With Local Spatial Context", 2021. The table gives
millions with two decimals, buffers cut off after them. Two things in it are slips.

* The buffer of 9 × 9 tiles is printed as 0.36. A tile is at most as large as its map, and the last two blocks have maps
  of 7 × 7; the printed figure counts 81 pixels for them instead of 49: 368,064 elements, where the graph has 318,912.
  The rows for 11 × 11 and 13 × 13 are right.
* The multiply-accumulates of all tiles count H/k · W/w tiles, a fraction where k does not divide H, and excites that all
  reduce to a quarter of the channels. Tiles are ⌈H/k⌉ · ⌈W/w⌉, and the network reduces to a quarter of the *block's
  input*, which is narrower in the first block of a stage. The figure for 9 × 9 forgets the clamp here, too.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from onnx import numpy_helper

import models
import tse_onnx
from tse_onnx import Tiling

STRIPS = {9: ("0.52", 797.68), 7: ("0.42", 797.88), 5: ("0.30", 798.49), 3: ("0.18", 799.92), 1: ("0.06", 807.03)}
PATCHES = {
    13: ("0.58", 797.58), 11: ("0.43", 797.83), 9: ("0.36", 798.03), 7: ("0.22", 799.11), 5: ("0.11", 801.76),
    3: ("0.04", 811.35), 1: (None, 931.23),
}  # fmt: skip
EXACT = {
    9: 526_848, 7: 426_496, 5: 304_640, 3: 182_784, 1: 60_928,
}  # fmt: skip


@functools.cache
def _model():
    return models.load("regnety_800mf_torchscript_11")


def _totals(tiling):
    return tse_onnx.buffering(_model(), tiling=tiling).totals


def _maps():
    """Channels, height and width of every block."""
    blocks = tse_onnx.buffering(_model()).blocks
    return [(b.decision.block.channels, *b.decision.block.extents) for b in blocks if b.before is not None]


def _printed(elements):
    """Millions with two decimals, cut off."""
    return f"{elements // 10_000 / 100:.2f}"


def test_the_squeeze_over_the_whole_map():
    assert _totals(Tiling(7)).before == 1_078_784
    assert _printed(1_078_784) == "1.07"


@pytest.mark.parametrize("k", STRIPS)
@pytest.mark.parametrize("across", [False, True], ids=["rows", "columns"])
def test_strips(k, across):
    elements = _totals(Tiling(None, k) if across else Tiling(k)).after
    assert elements == EXACT[k]
    assert _printed(elements) == STRIPS[k][0]


@pytest.mark.parametrize("k", [k for k in PATCHES if k not in (1, 9)])
def test_patches(k):
    assert _printed(_totals(Tiling(k, k)).after) == PATCHES[k][0]


def test_patches_of_nine_forgot_the_clamp():
    elements = _totals(Tiling(9, 9)).after
    assert elements == sum(c * min(9, h) * min(9, w) for c, h, w in _maps()) == 318_912
    assert _printed(elements) == "0.31"
    unclamped = sum(c * 9 * 9 for c, _, _ in _maps())
    assert unclamped == 368_064
    assert _printed(unclamped) == PATCHES[9][0]
    assert unclamped - elements == 2 * 768 * (81 - 49), "two blocks with maps of 7 × 7"


def test_single_pixels_have_no_printed_buffer():
    """The paper prints N/A; by its formula each block holds one pixel."""
    assert _totals(Tiling(1, 1)).after == sum(c for c, _, _ in _maps()) == 4_544


@pytest.mark.parametrize("squeeze", ["upper", "middle"])
def test_single_strips_count_the_whole_map(squeeze):
    found = tse_onnx.buffering(_model(), tiling=Tiling(7, squeeze=squeeze))
    assert _printed(found.totals.after) == "1.07"
    assert found.totals.macs_added == 0, "the paper has the same multiply-accumulates as for SE, 797.18"
    held = sum(b.held for b in found.blocks if b.held is not None)
    starts = [(c, w, min(7, h), (h - min(7, h)) // 2 * (squeeze == "middle")) for c, h, w in _maps()]
    assert held == sum(c * w * (start + k) for c, w, k, start in starts) < found.totals.after


@functools.cache
def _macs_without_excites():
    """Multiply-accumulates of the convolutions and linear layers that are in no excite, by onnxruntime's shapes."""
    from onnx import shape_inference

    model = shape_inference.infer_shapes(_model())
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            weights[node.output[0]] = list(numpy_helper.to_array(node.attribute[0].t).shape)
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv" and shapes[node.output[0]][2:] != [1, 1]:
            total += int(np.prod(weights[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
        elif node.op_type in ("Gemm", "MatMul"):
            total += int(np.prod(weights[node.input[1]]))
    return total


def _excites():
    found = tse_onnx.buffering(_model(), rows=1).blocks
    return sum(b.macs_added // (b.descriptors - 1) for b in found if b.macs_added)


def test_multiply_accumulates_of_the_squeeze_over_the_whole_map():
    """The row SE is right: 797.18."""
    assert round((_macs_without_excites() + _excites()) / 1e6, 2) == 797.18


def _papers_macs(k, across, clamp=True):
    """As the paper counts: fractions of tiles, and two layers between C and C / 4 channels."""
    size = max if clamp else (lambda a, _: a)
    tiles = [(c, size(h / k, 1) * (size(w / k, 1) if across else 1)) for c, h, w in _maps()]
    return (_macs_without_excites() + sum(2 * c * (c / 4) * count for c, count in tiles)) / 1e6


@pytest.mark.parametrize("k", STRIPS)
def test_the_papers_multiply_accumulates_of_strips_count_fractions(k):
    assert _papers_macs(k, across=False) == pytest.approx(STRIPS[k][1], abs=0.01)


@pytest.mark.parametrize("k", PATCHES)
def test_the_papers_multiply_accumulates_of_patches_count_fractions(k):
    assert _papers_macs(k, across=True, clamp=k != 9) == pytest.approx(PATCHES[k][1], abs=0.01)


def test_whole_tiles_and_the_networks_own_widths_give_other_figures():
    """9 rows on a map of 14 are two strips, not 1.56."""
    added = _totals(Tiling(9)).macs_added
    exact = (_macs_without_excites() + _excites() + added) / 1e6
    assert exact != pytest.approx(STRIPS[9][1], abs=0.01)
