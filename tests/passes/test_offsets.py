"""Blocks that scale a map and add an offset, both of one mean: each tile gets what the original makes of it alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

import tse_onnx
from tests.graphs import text_model
from tests.running import run
from tests.streaming.test_streaming_operands import certified
from tse_onnx.passes.lowering import MEANS, SPREADS

_RANDOM = np.random.default_rng(4)
CONSTANTS = {
    "w1": _RANDOM.standard_normal((4, 8, 1, 1)), "w2": _RANDOM.standard_normal((8, 4, 1, 1)),
    "w3": _RANDOM.standard_normal((16, 4, 1, 1)), "w4": _RANDOM.standard_normal((8, 4, 1, 1)),
    "b3": _RANDOM.standard_normal(16), "m1": _RANDOM.standard_normal((8, 4)), "m2": _RANDOM.standard_normal((4, 16)),
    "one": np.array(1.0), "each": _RANDOM.standard_normal(8),
}  # fmt: skip
NUMBERS = {"z0": [0], "z8": [8], "z16": [16], "last": [-8], "end": [2**31 - 1], "z1": [1], "halves": [8, 8],
           "map": [0, 8, 1, 1], "uneven": [9, 7], "reach": [0, 16, 12]}  # fmt: skip
POOL = "d = GlobalAveragePool(h); r = Conv(d, w1); a = Relu(r)"
BOTH = f"{POOL}; e = Conv(a, w3, b3)"
HALVES = f"{BOTH}; p, b = Split<axis = 1>(e, halves); g = Sigmoid(p)"
LAST = "t = Mul(h, g); y = Add(t, b)"
BLOCKS = {
    "a split": f"{HALVES}; {LAST}",
    "a split of negative axis": f"{HALVES.replace('axis = 1', 'axis = -3')}; {LAST}",
    "the offset first": f"{HALVES.replace('p, b', 'b, p')}; t = Mul(g, h); y = Add(b, t)",
    "slices": f"{BOTH}; p = Slice(e, z0, z8, z1); b = Slice(e, z8, z16, z1); g = Sigmoid(p); {LAST}",
    "slices from the end": f"{BOTH}; p = Slice(e, z0, last, z1); b = Slice(e, last, end, z1); g = Sigmoid(p); {LAST}",
    "two heads": f"{POOL}; e = Conv(a, w2); b = Conv(a, w4); g = Sigmoid(e); {LAST}",
    "one plus": f"{BOTH}; p, b = Split<axis = 1>(e, halves); g = Add(p, one); {LAST}",
    "an offset of the gate's own vector": f"{POOL}; b = Conv(a, w2); g = Sigmoid(b); {LAST}",
    "an offset of the mean": f"{POOL}; e = Conv(a, w2); g = Sigmoid(e); t = Mul(h, g); y = Add(t, d)",
    "a function of the offset": f"{HALVES}; c = Tanh(b); t = Mul(h, g); y = Add(t, c)",
    "linear layers": "q = ReduceMean<axes = [2, 3], keepdims = 0>(h); r = MatMul(q, m1); a = Relu(r); e = MatMul(a, m2); "
    "p, c = Split<axis = 1>(e, halves); k = Mul(c, each); j = Sigmoid(p); g = Reshape(j, map); b = Reshape(k, map); " + LAST,
}  # fmt: skip


def model(nodes: str, dims: str = "2, 8, 16, 12") -> ModelProto:
    def used(name: str) -> bool:
        return any(f"{name}{mark}" in nodes for mark in (",", ")"))

    weights = {name: array.astype(np.float32) for name, array in CONSTANTS.items() if used(name)}
    weights |= {name: np.array(numbers, np.int64) for name, numbers in NUMBERS.items() if used(name)}
    body = "\n".join(f"h = Tanh(x); {nodes}".split("; "))
    return text_model(body, weights, inputs=f"float[{dims}] x", outputs="float[A, B, C, D] y")


def noise(seed: int = 0) -> np.ndarray:
    slope = np.linspace(-2, 2, 16).reshape(1, 1, -1, 1)
    return (np.random.default_rng(seed).standard_normal((2, 8, 16, 12)) + slope).astype(np.float32)


def by_crops(original: ModelProto, x: np.ndarray, rows: int) -> np.ndarray:
    """The original on each strip alone."""
    free = ModelProto()
    free.CopyFrom(original)
    free.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    return np.concatenate([run(free, x[:, :, top : top + rows]) for top in range(0, 16, rows)], axis=2)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_scale_and_offset_are_those_of_the_tile(name, rows):
    original = model(BLOCKS[name])
    result = tse_onnx.convert(original, rows=rows, expect=1)
    assert result.verification.passed
    np.testing.assert_allclose(run(result.model, noise()), by_crops(original, noise(), rows), rtol=1e-5, atol=1e-5)
    assert tse_onnx.restore(result.model).model.SerializeToString() == original.SerializeToString()
    again = tse_onnx.convert(result.model, rows=rows)
    assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize("ways", [{"means": way.name} for way in MEANS] + [{"upsample": way.name} for way in SPREADS])
@pytest.mark.parametrize("rows", [4, 5])
def test_an_offset_is_spread_in_every_way(ways, rows):
    original = model(BLOCKS["a split"])
    result = tse_onnx.convert(original, rows=rows, expect=1, **ways)
    assert result.verification.passed
    np.testing.assert_allclose(run(result.model, noise()), by_crops(original, noise(), rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_running_offset_is_that_of_the_rows_seen_so_far(name):
    original = model(BLOCKS[name])
    result = tse_onnx.convert(original, tiling=tse_onnx.Tiling(3, squeeze="running"), expect=1)
    assert result.verification.passed
    made, free = run(result.model, noise()), ModelProto()
    free.CopyFrom(original)
    free.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    for row in range(16):
        seen = min(3 + row, 16)
        expected = run(free, noise()[:, :, :seen])[:, :, row]
        np.testing.assert_allclose(made[:, :, row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("asked", [tse_onnx.Tiling(4, 5), tse_onnx.Tiling(4, squeeze="upper")], ids=str)
def test_other_covers_have_offsets_too(asked):
    result = tse_onnx.convert(model(BLOCKS["a split"]), tiling=asked, expect=1)
    assert result.verification.passed


@pytest.mark.parametrize("asked", [tse_onnx.Frozen((0.5,)), tse_onnx.Previous()], ids=str)
def test_a_gate_of_another_kind_leaves_the_offset_and_is_refused(asked):
    original = model(BLOCKS["a split"])
    result = tse_onnx.convert(original, tiling=asked)
    (block,) = result.blocks
    assert block.refusal.code == "shared"
    assert "an offset that is made of the mean as well" in block.refusal.text
    assert result.model.SerializeToString() == original.SerializeToString()


def test_a_converted_block_with_an_offset_streams():
    original = model(BLOCKS["a split"], "1, 8, 16, 12")
    result = tse_onnx.convert(original, rows=4)
    assert tse_onnx.inspect(result.model).stops == ()
    held = {buffer.tensor: buffer.asap.rows for buffer in tse_onnx.stream(result.model).buffers}
    assert max(held.values()) == 4
    certified(result.model)


NEAR = {
    "subtracted": (f"{HALVES}; t = Mul(h, g); y = Sub(t, b)", "weights"),
    "added before": (f"{HALVES}; t = Add(h, b); y = Mul(t, g)", "not-mul"),
    "added to another map": (f"{HALVES}; t = Mul(h, g); n = Neg(h); y = Add(n, b); z = Add(y, t)", "weights"),
    "read in between": (f"{HALVES}; t = Mul(h, g); n = Neg(t); u = Add(t, b); y = Add(u, n)", "weights"),
    "parts of other sizes": (f"{BOTH}; p, b = Split<axis = 1>(e, uneven); g = Sigmoid(p); u = ReduceMean<axes = [1]>(g); "
                             "k = ReduceMean<axes = [1]>(b); t = Mul(h, u); y = Add(t, k)", "channels"),
    "a half that nothing reads": (f"{BOTH}; p, b = Split<axis = 1>(e, halves); g = Sigmoid(p); y = Mul(h, g)", "shared"),
    "a split of the batch": (f"{BOTH}; p, b = Split<axis = 0>(e, z1z1); g = Sigmoid(p); t = Mul(h, g); y = Add(t, b)", "operator"),
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR)
def test_a_near_miss_is_refused_and_left_alone(name):
    nodes, code = NEAR[name]
    original = model(
        nodes.replace("z1z1", "halves")
        .replace("y = Add(n, b); z =", "u = Add(n, b); y =")
        .replace("Add(y, t)", "Add(u, t)")
    )
    found = tse_onnx.find_blocks(original, kinds="all")
    assert found[0].refusal is not None
    assert found[0].refusal.code == code, found[0].reason
    assert tse_onnx.convert(original, rows=4, verify=False).model.SerializeToString() == original.SerializeToString()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    name=st.sampled_from(sorted(BLOCKS)),
    rows=st.integers(1, 15),
    upsample=st.sampled_from([way.name for way in SPREADS]),
    means=st.sampled_from([way.name for way in MEANS]),
    seed=st.integers(0, 99),
)
def test_any_combination_with_an_offset(name, rows, upsample, means, seed):
    original = model(BLOCKS[name])
    result = tse_onnx.convert(original, rows=rows, upsample=upsample, means=means)
    assert result.verification.passed
    expected = by_crops(original, noise(seed), rows)
    np.testing.assert_allclose(run(result.model, noise(seed)), expected, rtol=1e-4, atol=1e-4)
    onnx.checker.check_model(result.model, full_check=True)
