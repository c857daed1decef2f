"""The check that takes nothing from the way in which a block was read: a block read wrongly is noticed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import tse_onnx
from tests.graphs import network, se_model, text_model
from tests.passes.test_calibrated import _calibration
from tests.passes.test_scopes import IN_BODY, IN_FUNCTION
from tse_onnx import Frozen, Plan, Tiling
from tse_onnx.passes.forms import squeeze
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.verification import verify
from tse_onnx.verification.flat import common_source, flat_maps
from tse_onnx.verification.result import BlockCheck

TILINGS = [Tiling(5), Tiling(None, 3), Tiling(5, 3), Tiling(5, squeeze="running"), Tiling(5, squeeze="upper"),
           Tiling(5, squeeze="middle")]  # fmt: skip


def _of(result):
    (check,) = (check for check in result.verification.checks if check.name == "flat-maps")
    assert check.passed
    return check.text


@pytest.fixture
def misread(monkeypatch):
    """A maximum is taken for a mean."""
    rules = {**squeeze.READERS, "GlobalMaxPool": squeeze.READERS["GlobalAveragePool"]}
    monkeypatch.setattr(squeeze, "READERS", Rules(rules))


def _by_maximum(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    bodies = [attribute.g.node for node in changed.graph.node for attribute in node.attribute]
    for nodes in (changed.graph.node, *bodies, *(function.node for function in changed.functions)):
        for node in nodes:
            if node.op_type == "GlobalAveragePool":
                node.op_type = "GlobalMaxPool"
    return changed


@pytest.mark.parametrize("tiling", [tiling for tiling in TILINGS if tiling != Tiling(5, 3)], ids=str)
def test_a_block_that_was_read_wrongly_is_noticed(misread, monkeypatch, tiling):
    """A maximum gives for a map of one value what a mean gives. (So it does here, where patches leave no axis along which
    the map may vary.) Where the oracle follows the reading, nothing else notices; crops of a map are pooled by the
    original's own nodes."""
    model = _by_maximum(se_model(dtype=np.float16))
    with pytest.raises(tse_onnx.CheckFailed, match="constant along the tiled axes, where tiles make no difference"):
        tse_onnx.convert(model, tiling=tiling)
    monkeypatch.setattr(verify, "flat_maps", lambda checks: flat_maps([]))
    if tiling.squeeze == "tile":
        with pytest.raises(tse_onnx.CheckFailed, match="differs from the original run tile by tile"):
            tse_onnx.convert(model, tiling=tiling)
    else:
        assert tse_onnx.convert(model, tiling=tiling).verification.passed  # without it, nothing is said


@pytest.mark.parametrize("tiling", TILINGS, ids=str)
def test_blocks_that_were_read_rightly_pass(tiling):
    assert _of(tse_onnx.convert(network(28, 14), tiling=tiling)).startswith("2 of 2 blocks")


def test_it_is_said_where_the_check_does_not_apply():
    plan = Plan(Tiling(5), {"block0_squeeze": Frozen((0.5,))})
    text = _of(tse_onnx.convert(network(28, 14), plan=plan))
    assert text.startswith("1 of 2 blocks")
    assert "not for block 'block0_squeeze': a frozen gate is meant to be another one" in text
    calibration = _calibration(12, 8)
    found = tse_onnx.convert(se_model(), tiling=Tiling(5, squeeze="running", calibration=calibration))
    assert "a calibrated squeeze is meant to give other means" in _of(found)


@pytest.mark.parametrize("model", [IN_BODY, IN_FUNCTION], ids=["body", "function"])
def test_blocks_in_bodies_and_functions_are_checked_as_well(model, misread, monkeypatch):
    tiling = Tiling(5, squeeze="running")
    assert "not for" not in _of(tse_onnx.convert(model, tiling=tiling))
    monkeypatch.setattr(
        verify, "check_block", lambda form, original, converted, block, values: BlockCheck(block.name, 0.0, 0.0)
    )
    with pytest.raises(tse_onnx.CheckFailed, match="constant along the tiled axes"):
        tse_onnx.convert(_by_maximum(model), tiling=tiling)


def _source(body, pooled, output, given=()):
    index = GraphIndex.of_graph(text_model(body, {"w": np.ones(1, np.float32)}, outputs="float[A, B, C, D] y").graph)
    return common_source(index, pooled, output, given)


@pytest.mark.parametrize(("body", "expected"), [
    ("d = GlobalAveragePool(x) y = Mul(x, d)", "x"),
    ("h = Relu(x) d = GlobalAveragePool(h) g = Mul(d, w) y = Mul(h, g)", "h"),
    ("h = Relu(x) t = Transpose(h) d = GlobalAveragePool(t) y = Mul(h, d)", "h"),
    ("h = Relu(x) n = Shape(h) d = GlobalAveragePool(h) e = Expand(d, n) y = Mul(h, e)", "h"),
    ("h = Relu(x) n = Shape(x) d = GlobalAveragePool(h) e = Expand(d, n) y = Mul(h, e)", "x"),
    ("h = Relu(x) d = GlobalAveragePool(h) y = Relu(x)", None),
])  # fmt: skip
def test_the_common_source_is_the_last_value_that_all_comes_from(body, expected):
    pooled = "t" if "t = " in body else "h" if "h = " in body else "x"
    assert _source(body.replace(") ", ")\n"), pooled, "y") == expected


def test_what_is_given_is_no_way():
    body = "h = Relu(x)\nn = Shape(x)\nd = GlobalAveragePool(h)\ne = Expand(d, n)\ny = Mul(h, e)"
    assert _source(body, "h", "y", {"n"}) == "h"
