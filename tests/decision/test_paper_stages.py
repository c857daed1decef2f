"""Tables 4, 5 and 6 of the paper: EfficientNet, EfficientDet and MobileNetV3, whose buffers no real graph gives.

Vosco, Shenkler, Grobman, "Tiled Squeeze-and-Excite: Channel Attention With Local Spatial Context", 2021. What the tables
print comes out by a rule of stages: each block of a stage counts as the widest of them, with maps that are halved and
rounded down, Σ depth · C · min(k, H) · W. Every buffer of EfficientNet and EfficientDet is that, cut off after the printed
digits, or rounded for D0, but for the one of D1 with squeeze-and-excite: 33.6 is printed, 33.43 computed. Table 6 comes
out by no rule that we know.
"""

from __future__ import annotations

import math

import pytest

import models
import tse_onnx
from tse_onnx import Tiling

# Of EfficientNet-B0: how much a block expands, its channels, how many there are, the stride of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2), (6, 80, 3, 2), (6, 112, 3, 1), (6, 192, 4, 2), (6, 320, 1, 1))
STEM = 32
SIZES = {"B0": (1.0, 1.0, 224), "B1": (1.0, 1.1, 240), "B2": (1.1, 1.2, 260), "B3": (1.2, 1.4, 300)}
SIZES |= {"D0": (1.0, 1.0, 512), "D1": (1.0, 1.1, 640), "D2": (1.1, 1.2, 768)}
# Millions as they are printed, with squeeze-and-excite and with strips of seven rows, and the elements by the rule.
TABLES = {
    "B0": ("2.64", "0.85", 2_640_512, 852_992), "B1": ("4.63", "1.34", 4_632_000, 1_340_640),
    "B2": ("5.73", "1.59", 5_739_184, 1_593_424), "B3": ("9.52", "2.30", 9_527_616, 2_303_616),
    "D0": ("13.8", "1.9", 13_795_328, 1_949_696), "D1": ("33.6", "3.6", 33_433_600, 3_664_640),
    "D2": ("50.8", "4.7", 50_853_888, 4_768_512),
}  # fmt: skip
# Of MobileNetV3, the blocks with squeeze-and-excite: channels, and what the input's sides are divided by.
LARGE = ((72, 8), (120, 8), (120, 8), (480, 16), (672, 16), (672, 32), (960, 32), (960, 32))
SMALL = ((16, 4), (96, 16), (240, 16), (240, 16), (120, 16), (144, 16), (288, 32), (576, 32), (576, 32))
TABLE_6 = {"large": (LARGE, 36.17, 1.59), "small": (SMALL, 24.51, 1.04)}


def _channels(base, width):
    """As EfficientNet rounds them: to eights, and down by a tenth at the most."""
    scaled = base * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _by_stages(name, rows=None):
    width, depth, size = SIZES[name]
    before, side, total = _channels(STEM, width), size // 2, 0
    for expand, channels, count, stride in STAGES:
        side //= stride
        own, blocks = _channels(channels, width), math.ceil(count * depth)
        widest = max(expand * before, expand * own if blocks > 1 else 0)
        total += blocks * widest * min(rows or side, side) * side
        before = own
    return total


def _cut(elements, digits):
    scale = 10**digits
    return f"{elements * scale // 1_000_000 / scale:.{digits}f}"


@pytest.mark.parametrize("name", TABLES)
def test_buffers_come_out_by_stages(name):
    whole, strips, elements, in_strips = TABLES[name]
    assert (_by_stages(name), _by_stages(name, 7)) == (elements, in_strips)
    assert _cut(in_strips, len(strips.split(".")[1])) == strips
    shown = _cut(elements, len(whole.split(".")[1]))
    if name == "D1":
        assert (whole, shown) == ("33.6", "33.4")  # the one that does not
    else:
        assert whole in (shown, f"{elements / 1e6:.{len(whole.split('.')[1])}f}")


def test_the_real_graph_of_b0_holds_less():
    totals = tse_onnx.buffering(models.load("efficientnet_b0_torchscript_17"), tiling=Tiling(7)).totals
    assert (totals.before, totals.after) == (2_306_528, 749_504)


@pytest.mark.parametrize("name", TABLE_6)
@pytest.mark.parametrize("least", [32, 16])
def test_table_6_comes_out_by_no_rule(name, least):
    """Neither of the graph's blocks at 1024 × 2048, nor of one that is dilated from a sixteenth on."""
    blocks, whole, strips = TABLE_6[name]
    maps = [(channels, 1024 // min(by, least), 2048 // min(by, least)) for channels, by in blocks]
    found = [sum(channels * min(rows, height) * wide for channels, height, wide in maps) / 1e6 for rows in (1024, 7)]
    assert abs(found[0] / whole - 1) > 0.1
    assert abs(found[1] / strips - 1) > 0.1
