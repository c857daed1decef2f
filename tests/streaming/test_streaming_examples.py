"""The dataflow model on networks whose answer is known, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import tse_onnx
from tests.streams import CONV3, SE, SE_WEIGHTS, assert_tight, completes, stream_model, streamed
from tse_onnx import Machine, ModelError
from tse_onnx.streaming.depths.simulate import simulate

TWO = {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3)}


def tiled(model, rows, **ways):
    return tse_onnx.convert(model, rows=rows, verify=False, **ways).model


def se_on_input(height):
    return stream_model("h = Relu(x)" + SE.format("h") + "y = Relu(s)", (1, 4, height, 8), SE_WEIGHTS)


def mbconv(kernel, height, *, project):
    pad = kernel // 2
    body = (
        "h = Relu(x)\n e1 = Conv(h, point)\n"
        f"dw = Conv<group = 4, kernel_shape = [{kernel}, {kernel}], pads = [{pad}, {pad}, {pad}, {pad}]>(e1, depth)"
        + SE.format("dw")
        + ("p = Conv(s, project)\n y = Add(h, p)" if project else "y = Add(h, s)")
    )
    weights = SE_WEIGHTS | {"point": (4, 4, 1, 1), "depth": (4, 1, kernel, kernel), "project": (4, 4, 1, 1)}
    return stream_model(body, (1, 4, height, 8), weights)


def test_two_convolutions_hold_their_windows_and_fill_in_three_rows():
    model = stream_model(f"a = {CONV3}(x, w)\n y = {CONV3}(a, v)", (1, 4, 8, 8), TWO)
    found = streamed(model)
    assert found.minimum() == found.peaks() == {"x": 3, "a": 3, "y": 1}
    assert_tight(found)
    assert tse_onnx.stream(model).fill == {"y": 3}


def test_a_residual_around_two_convolutions():
    model = stream_model(f"a = {CONV3}(x, w)\n b = {CONV3}(a, v)\n y = Add(x, b)", (1, 4, 8, 8), TWO)
    found = streamed(model)
    assert found.minimum() == {"x": 3, "a": 3, "b": 1, "y": 1}
    assert_tight(found)
    figures = tse_onnx.stream(model)
    assert [figures.of(name).no_stall.rows for name in "xab"] == [5, 3, 1]


@pytest.mark.parametrize(
    ("height", "rows", "answer"), [(14, None, 14), (14, 7, 7), (16, 7, 7), (16, 5, 5), (14, 1, 1), (15, 14, 14)]
)
def test_a_gate_on_the_input(height, rows, answer):
    model = se_on_input(height)
    found = streamed(model if rows is None else tiled(model, rows, means="pads"))
    assert found.minimum()["h"] == answer
    assert sum(found.minimum().values()) == answer + len(found.least.capacities) - 1
    assert_tight(found)


@pytest.mark.parametrize(("start", "answer"), [(0, 7), (3, 10)])
def test_a_gate_of_one_strip(start, answer):
    """Upper holds k rows, middle (H − k) // 2 + k."""
    body = (
        f"h = Relu(x)\n st = Constant<value_ints = [{start}]>()\n en = Constant<value_ints = [{start + 7}]>()\n"
        " ax = Constant<value_ints = [2]>()\n c = Slice(h, st, en, ax)" + SE.format("c").replace("Mul(c", "Mul(h")
        + "y = Relu(s)"
    )  # fmt: skip
    found = streamed(stream_model(body, (1, 4, 14, 8), SE_WEIGHTS))
    assert found.minimum()["h"] == answer
    assert_tight(found)


def test_a_gate_that_is_resized_by_sizes_costs_a_row_more():
    body = "h = Relu(x)" + SE.format("h").replace("GlobalAveragePool(h)", "AveragePool<kernel_shape = [7, 8], "
        "strides = [7, 8], pads = [0, 0, 5, 0]>(h)").replace("Sigmoid(e)", "Sigmoid(e0)").replace(
        "e = Conv(q, expand)", 'e = Conv(q, expand)\n e0 = Resize<mode = "nearest", '
        'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(e, , , sizes)') + "y = Relu(s)"  # fmt: skip
    found = streamed(stream_model(body, (1, 4, 16, 8), SE_WEIGHTS | {"sizes": np.array([1, 4, 16, 1])}))
    assert found.minimum()["h"] == 8
    assert_tight(found)


@pytest.mark.parametrize(
    ("kernel", "height", "project", "rows", "answer"),
    [
        (3, 14, True, None, {"h": 14, "e1": 3, "dw": 14}),
        (3, 14, True, 7, {"h": 8, "e1": 3, "dw": 7}),
        (5, 28, False, 7, {"h": 9, "e1": 5, "dw": 7}),
    ],
)
def test_an_inverted_residual(kernel, height, project, rows, answer):
    model = mbconv(kernel, height, project=project)
    found = streamed(model if rows is None else tiled(model, rows))
    held = found.minimum()
    assert {name: held[name] for name in answer} == answer
    assert all(rows == 1 for name, rows in held.items() if name not in answer)
    assert_tight(found)


@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        ('mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"', {"e": 4, "m": 1}),
        ('mode = "linear"', {"e": 5, "m": 2}),
    ],
)
def test_a_level_of_a_u_net(mode, answer):
    body = (
        f"e = {CONV3}(x, w)\n d = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(e, v)\n"
        f"m = {CONV3}(d, w)\n u = Resize<{mode}>(m, , scales)\n c = Concat<axis = 1>(e, u)\n y = {CONV3}(c, last)"
    )
    weights = TWO | {"last": (4, 8, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32)}
    found = streamed(stream_model(body, (1, 4, 16, 16), weights))
    assert found.minimum() == {"x": 3, "d": 3, "u": 1, "c": 3, "y": 1} | answer
    assert_tight(found)


def test_a_global_mean_beside_a_dilated_convolution_may_wait_at_either_end():
    body = (
        "a = Conv<kernel_shape = [3, 3], dilations = [2, 2], pads = [2, 2, 2, 2]>(x, w)\n"
        "m = GlobalAveragePool(x)\n f = Expand(m, shape)\n y = Concat<axis = 1>(a, f)"
    )
    found = streamed(stream_model(body, (1, 4, 16, 16), TWO | {"shape": np.array([1, 4, 16, 16])}))
    assert (found.minimum()["x"], found.minimum()["a"]) == (16, 1)
    assert_tight(found)
    for rows in range(5, 16):
        assert completes(found, x=rows, a=18 - rows)
        assert not completes(found, x=rows, a=17 - rows)
    assert completes(found, x=16, a=1)
    assert not completes(found, x=4, a=16)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("height", [5, 12])
def test_the_window_of_a_convolution(kernel, stride, height):
    for dilation in (1, 2, 3):
        pad = dilation * (kernel // 2)
        model = stream_model(
            f"y = Conv<dilations = [{dilation}, 1], strides = [{stride}, 1], pads = [{pad}, 0, {pad}, 0]>(x, w)",
            (1, 2, height, 7), {"w": (2, 2, kernel, 1)},
        )  # fmt: skip
        found = streamed(model)
        closed, held = min(height, dilation * (kernel - 1) + 1), found.minimum()["x"]
        # Rows that stride and dilation together pass over are not held, and a low map may have no whole window.
        exact = stride == 1 or (dilation == 1 and height == 12)
        assert held == closed if exact else held <= closed
        assert_tight(found)


def test_reductions_absorb_their_rows():
    for body in (
        "y = GlobalMaxPool(x)",
        "y = ReduceMean<axes = [2]>(x)",
        "y = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(x)",
        "f = Flatten(x)\n y = Gemm(f, w)",
        "s = Constant<value_ints = [1, 4, 96]>()\n f = Reshape(x, s)\n y = ReduceMean<axes = [2]>(f)",
    ):
        found = streamed(stream_model(body, (1, 4, 12, 8), {"w": (384, 3)}))
        assert set(found.minimum().values()) == {1}, body
        assert_tight(found)


def test_a_fifo_per_reader_counts_each_of_them():
    model = mbconv(3, 14, project=True)
    shared, private = tse_onnx.stream(model), tse_onnx.stream(model, machine=Machine(storage="per-reader"))
    assert [buffer.min.rows for buffer in private.buffers if buffer.tensor == "h"] == [1, 14]
    assert [buffer.min.rows for buffer in private.buffers if buffer.tensor == "dw"] == [1, 14]
    assert shared.totals["min"].elements < private.totals["min"].elements


@pytest.mark.parametrize("rows", [None, 7])
def test_a_pixel_raster_holds_no_more_than_rows(rows):
    model = mbconv(3, 14, project=True)
    model = model if rows is None else tiled(model, rows)
    found, by_row = tse_onnx.stream(model, machine=Machine(grain="pixel")), tse_onnx.stream(model)
    assert found.fill == by_row.fill
    assert [stage.fill for stage in found.stages] == [stage.fill for stage in by_row.stages]
    assert found.of("e1").min.depth == 2 * 8 + 3
    assert found.of("dw").min.elements == 4 * 8 * (rows or 14)
    for pixels, whole in zip(found.buffers, by_row.buffers, strict=True):
        assert pixels.min.elements <= whole.min.elements


def test_a_patch_of_pixels_holds_its_last_row_only_in_part():
    """((h − 1) · W + w) · C for tiles of h × w."""
    body = SE.format("h").replace("GlobalAveragePool(h)", "AveragePool<kernel_shape = [3, 4], strides = [3, 4]>(h)")
    body = "h = Relu(x)" + body.replace("Mul(h, g)", "Mul(h, u)").replace("s = M", 'u = Resize<mode = "nearest", '
        'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(g, , scales)\n s = M') + "y = Relu(s)"  # fmt: skip
    model = stream_model(body, (1, 4, 12, 8), SE_WEIGHTS | {"scales": np.array([1, 1, 3, 4], np.float32)})
    found = tse_onnx.stream(model, machine=Machine(grain="pixel")).of("h")
    assert found.min.elements == (2 * 8 + 4) * 4
    assert found.gate.elements == 3 * 4 * 4
    assert tse_onnx.stream(model).of("h").min.elements == 3 * 8 * 4


def test_depths_in_powers_of_two_and_bits():
    model = mbconv(3, 14, project=True)
    plain, rounded = tse_onnx.stream(model), tse_onnx.stream(model, machine=Machine(power_of_two=True, bits=8))
    assert [buffer.min.rows for buffer in rounded.buffers] == [
        1 << (buffer.min.rows - 1).bit_length() for buffer in plain.buffers
    ]
    assert rounded.of("e1").min.bytes == 4 * 8 * 4
    assert plain.of("e1").min.bytes == 3 * 8 * 4 * 4


def test_why_names_the_reader_that_waits_and_the_row():
    found = tse_onnx.stream(mbconv(3, 14, project=True))
    assert found.of("dw").why == (
        "Mul 's' needs row 0 together with row 0 of 'g', which depends on row 13 of this tensor "
        "(by way of Sigmoid 'g', …, GlobalAveragePool 'd')"
    )
    assert found.of("h").why == (
        "Add 'y' needs row 0 together with row 0 of 'p', which depends on row 13 of this tensor "
        "(by way of Conv 'p', …, Conv 'e1')"
    )
    assert found.of("e1").why is None
    assert [buffer.tensor for buffer in found.contributors[:2]] == ["h", "dw"]
    assert {buffer.tensor: buffer.kind for buffer in found.buffers}["dw"] == "gate"
    assert {buffer.tensor: buffer.kind for buffer in found.buffers}["h"] == "skip"


def test_an_unknown_operator_is_a_barrier_and_is_named():
    model = stream_model("a = my.Strange(x)\n y = Relu(a)", (1, 4, 9, 8), imports=', "my" : 1')
    value = model.graph.value_info.add(name="a")
    value.CopyFrom(model.graph.input[0])
    value.name = "a"
    found = tse_onnx.stream(model)
    assert found.unknown == ("Strange 'a'",)
    assert found.of("x").min.rows == 9
    assert [stage.label for stage in found.barriers] == ["Strange 'a'"]


def test_sources_of_errors():
    with pytest.raises(ModelError, match=r"input_shapes=\{'x': \(1, 4, 224, 8\)\}"):
        tse_onnx.stream(stream_model("y = Relu(x)", "1, 4, H, 8"))
    with pytest.raises(ModelError, match="no elements"):
        tse_onnx.stream(stream_model("y = Relu(x)", (1, 4, 0, 8)))
    with pytest.raises(ModelError, match="cannot be inferred"):
        tse_onnx.stream(stream_model("a = my.Strange(x)\n y = Relu(a)", (1, 4, 9, 8), imports=', "my" : 1'))
    with pytest.raises(ModelError, match="unroll"):
        tse_onnx.stream(
            stream_model(
                "y = If<then_branch = a () => (float[1,4,9,8] p) { p = Relu(x) }, "
                "else_branch = b () => (float[1,4,9,8] q) { q = Abs(x) }>(c)",
                "", inputs="float[1,4,9,8] x, bool[1] c",
            )
        )  # fmt: skip
    for machine in ({"grain": "tile"}, {"storage": "ring"}, {"bits": 0}, {"latency": -1.0}):
        with pytest.raises(tse_onnx.UsageError):
            Machine(**machine)


def test_a_batch_is_counted_as_one_image():
    one, four = (tse_onnx.stream(stream_model("y = Relu(x)", (n, 4, 9, 8))) for n in (1, 4))
    assert one.totals == four.totals


@pytest.mark.parametrize("rows", [None, 7])
def test_efficientnet_b0(rows):
    """The exact graph's gates: 2,306,528 elements, and 749,504 with tiles of seven rows."""
    import models

    model = models.load("efficientnet_b0_torchscript_17")
    found = tse_onnx.stream(model if rows is None else tiled(model, rows))
    assert found.totals["gate"].elements == (749_504 if rows else 2_306_528)
    assert not found.unknown
    assert not found.barriers


def test_peaks_are_what_a_run_without_bounds_holds():
    """A second way to the same peaks: replay the order of firing with sets of rows instead of counters."""
    found = streamed(mbconv(3, 14, project=True))
    assert simulate(found.pipeline, found.run.peaks).completed
    assert all(least <= peak for least, peak in zip(found.least.capacities, found.run.peaks, strict=True))
