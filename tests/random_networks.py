"""Random networks of all operators that the dataflow model knows, drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, shape_inference

Shape = tuple[int, int, int]

_MAPS = [
    "conv",
    "depthwise",
    "pool",
    "average",
    "tile_pool",
    "transposed",
    "resize_nearest",
    "resize_linear",
    "resize_cubic",
    "resize_sizes",
    "resize_crop",
    "concat",
    "add",
    "multiply",
    "slice",
    "pad",
    "split",
    "space",
    "depth",
    "softmax",
    "normalise",
    "se",
    "gate_tile",
    "gate_running",
    "gate_upper",
    "row_mean",
    "reduce",
    "cumsum",
    "gather",
    "shuffle",
    "nhwc",
    "tile",
    "expand",
    "barrier",
    "qdq",
    "twice",
    "self_concat",
    "attention",
    "elementwise",
    "constant",
    "matmul_rows",
    "matmul",
    "lp",
    "flip",
    "where",
    "prelu",
    "layer_norm",
    "global_max",
]


@dataclass
class Drawing:
    """A network while it is drawn: nodes, weights, and the maps [1, C, H, W] made so far."""

    nodes: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)
    maps: list[tuple[str, Shape]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    count: int = 0

    def name(self, hint: str) -> str:
        self.count += 1
        return f"{hint}{self.count}"

    def weight(self, array: np.ndarray) -> str:
        name = self.name("w")
        self.weights[name] = np.array(array, order="C")
        return name

    def noise(self, *shape: int) -> str:
        random = np.random.default_rng(self.count)
        return self.weight((random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32))

    def node(self, op: str, inputs: list[str], outputs: int = 1, **attributes) -> str | list[str]:
        names = [self.name(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{self.count}", **attributes))
        return names[0] if outputs == 1 else names

    def put(self, name: str, shape: Shape) -> None:
        self.maps.append((name, shape))


@st.composite
def networks(draw, steps: int = 7, ops: tuple[str, ...] = tuple(_MAPS)) -> ModelProto:
    """A network of up to `steps` steps; one or two inputs; every map that nothing reads is an output."""
    made = Drawing()
    inputs = []
    for number in range(draw(st.sampled_from([1, 1, 1, 2]))):
        shape = (draw(st.integers(1, 4)), draw(st.integers(4, 13)), draw(st.integers(3, 6)))
        inputs.append((f"x{number}", shape))
        made.put(*inputs[-1])
    for _ in range(draw(st.integers(1, steps))):
        op = draw(st.sampled_from(ops))
        # What was made last is read more often, so that the networks are deep.
        recent = made.maps[-3:] if draw(st.booleans()) else made.maps
        _STEPS[op](draw, made, *draw(st.sampled_from(recent)))
    if draw(st.integers(0, 3)) == 0:
        _head(draw, made, *made.maps[-1])
    return finished(made, inputs)


def finished(made: Drawing, inputs: list[tuple[str, Shape]], opset: int = 18) -> ModelProto:
    """The model: what nothing reads are its outputs."""
    read = {name for node in made.nodes for name in node.input}
    loose = [name for name in (*(name for name, _ in made.maps), *made.heads) if name not in read]
    outputs = [name for name in loose if name not in dict(inputs)] or [made.nodes[-1].output[0]] if made.nodes else []
    if not outputs:
        made.nodes.append(helper.make_node("Identity", [inputs[0][0]], ["same"], name="same"))
        outputs = ["same"]
    graph = helper.make_graph(
        made.nodes,
        "random",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(outputs)],
        [numpy_helper.from_array(value, name) for name, value in made.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = shape_inference.infer_shapes(model, data_prop=True)
    # What onnx itself takes for invalid, or cannot tell the size of, is no test of this model.
    assume(all(value.type.tensor_type.HasField("shape") for value in model.graph.output))
    checker.check_model(model)
    return model


def _window(draw, size: int, most: int = 5):
    kernel, dilation = draw(st.integers(1, most)), draw(st.sampled_from([1, 1, 1, 2]))
    reach = dilation * (kernel - 1)
    before, after = draw(st.integers(0, min(kernel - 1, size - 1))), draw(st.integers(0, min(kernel - 1, size - 1)))
    while size + before + after < reach + 1:
        kernel -= 1
        reach = dilation * (kernel - 1)
        before, after = min(before, kernel - 1), min(after, kernel - 1)
    return kernel, draw(st.integers(1, 3)), dilation, before, after


def _out(size, kernel, stride, dilation, before, after, ceil=False):
    room = size + before + after - dilation * (kernel - 1) - 1
    return (-(-room // stride) if ceil else room // stride) + 1


def _conv(draw, made, x, shape):
    c, h, w = shape
    (k, s, d, p, q), (kw, sw, dw, pw, qw) = _window(draw, h), _window(draw, w, 3)
    out = draw(st.integers(1, 4))
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    weight = made.noise(out, c, k, kw)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        y = made.node("Conv", [x, weight], strides=[s, sw], dilations=[1, 1], auto_pad=auto)
        made.put(y, (out, -(-h // s), -(-w // sw)))
        return
    if auto == "VALID":
        if h < d * (k - 1) + 1 or w < dw * (kw - 1) + 1:
            return
        p = q = pw = qw = 0
        y = made.node("Conv", [x, weight], strides=[s, sw], dilations=[d, dw], auto_pad=auto)
    else:
        y = made.node("Conv", [x, weight, made.noise(out)], strides=[s, sw], dilations=[d, dw], pads=[p, pw, q, qw])
    made.put(y, (out, _out(h, k, s, d, p, q), _out(w, kw, sw, dw, pw, qw)))


def _depthwise(draw, made, x, shape):
    c, h, w = shape
    k = draw(st.sampled_from([3, 5]))
    y = made.node("Conv", [x, made.noise(c, 1, k, 3)], group=c, pads=[k // 2, 1, k // 2, 1])
    made.put(y, shape)


def _pool(draw, made, x, shape, op="MaxPool"):
    c, h, w = shape
    (k, s, d, p, q), (kw, sw, _, pw, qw) = _window(draw, h, 4), _window(draw, w, 3)
    if op != "MaxPool":
        d = 1
    p, q, pw, qw = min(p, k - 1), min(q, k - 1), min(pw, kw - 1), min(qw, kw - 1)
    if h + p + q < d * (k - 1) + 1 or w + pw + qw < kw:
        return
    if op == "LpPool" and (p or q or pw or qw):
        p = q = pw = qw = 0
        if h < k or w < kw:
            return
    extra = {"dilations": [d, 1]} if op == "MaxPool" else {}
    ceil = op != "LpPool" and draw(st.booleans())
    include = op == "AveragePool" and draw(st.booleans())
    # A window that lies in the padding altogether has no mean and no maximum.
    if d * (k - 1) + 1 <= max(p, q) or kw <= max(pw, qw) or (d > 1 and (p or q or ceil)):
        return
    # Runtimes do not agree on windows that lie behind the map.
    behind = [_out(h, k, s, d, p, q, ceil) * s - s - p >= h, _out(w, kw, sw, 1, pw, qw, ceil) * sw - sw - pw >= w]
    if ceil and (k < s or kw < sw or any(behind)):
        return
    if ceil and include:
        include = False
    if include:
        extra["count_include_pad"] = 1
    if ceil:
        extra["ceil_mode"] = 1
    y = made.node(op, [x], kernel_shape=[k, kw], strides=[s, sw], pads=[p, pw, q, qw], **extra)
    made.put(y, (c, _out(h, k, s, d, p, q, ceil), _out(w, kw, sw, 1, pw, qw, ceil)))


def _average(draw, made, x, shape):
    _pool(draw, made, x, shape, "AveragePool")


def _lp(draw, made, x, shape):
    _pool(draw, made, x, shape, "LpPool")


def _tile_pool(draw, made, x, shape):
    c, h, w = shape
    k = draw(st.integers(1, h))
    y = made.node("AveragePool", [x], kernel_shape=[k, 1], strides=[k, 1], pads=[0, 0, -h % k, 0])
    made.put(y, (c, -(-h // k), w))


def _transposed(draw, made, x, shape):
    c, h, w = shape
    out, k, s, d = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 2])),
    )
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER"]))
    weight = made.noise(c, out, k, 2)
    if auto != "NOTSET":
        if k < s or k < 2 or d > 1:
            return
        y = made.node("ConvTranspose", [x, weight], strides=[s, 1], auto_pad=auto)
        made.put(y, (out, h * s, w))
        return
    p, extra = draw(st.integers(0, d * (k - 1))), draw(st.integers(0, s - 1))
    height = (h - 1) * s + d * (k - 1) + 1 - 2 * p + extra
    if not 1 <= height <= 40:
        return
    y = made.node("ConvTranspose", [x, weight, made.noise(out)], strides=[s, 1], dilations=[d, 1], pads=[p, 0, p, 0],
                  output_padding=[extra, 0])  # fmt: skip
    made.put(y, (out, height, w + 1))


def _resize(draw, made, x, shape, mode, sizes=False):
    c, h, w = shape
    transforms = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    if mode != "cubic":
        transforms.append("half_pixel_symmetric")
    attributes = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from(transforms))}
    if mode == "nearest":
        attributes["nearest_mode"] = draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    if mode == "cubic":
        attributes["exclude_outside"] = draw(st.sampled_from([0, 1]))
    if sizes:
        height, width = draw(st.integers(1, 24)), draw(st.integers(1, 8))
        y = made.node("Resize", [x, "", "", made.weight(np.array([1, c, height, width]))], **attributes)
    else:
        up = draw(st.sampled_from([2.0, 3.0, 0.5, 1.5, 2.5]))
        across = draw(st.sampled_from([1.0, 2.0]))
        height, width = int(np.floor(h * up)), int(w * across)
        if height < 1 or height > 40 or width > 16:
            return
        y = made.node("Resize", [x, "", made.weight(np.array([1, 1, up, across], np.float32))], **attributes)
    made.put(y, (c, height, width))


def _resize_crop(draw, made, x, shape):
    c, h, w = shape
    start = draw(st.sampled_from([0.0, 0.2, -0.3]))
    roi = made.weight(np.array([0, 0, start, 0, 1, 1, start + draw(st.sampled_from([0.5, 0.8, 1.2])), 1], np.float32))
    height = draw(st.integers(2, 12).filter(lambda height: height != h))  # at scale 1 onnxruntime does not crop
    y = made.node("Resize", [x, roi, "", made.weight(np.array([1, c, height, w]))], mode="linear",
                  coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=0.5)  # fmt: skip
    made.put(y, (c, height, w))


def _partner(draw, made, shape, *, same_channels=True):
    """Another map of the same height and width, or None."""
    fits = [(name, other) for name, other in made.maps
            if other[1:] == shape[1:] and (not same_channels or other[0] == shape[0])]  # fmt: skip
    return draw(st.sampled_from(fits)) if fits else None


def _concat(draw, made, x, shape):
    if draw(st.booleans()):
        other, theirs = _partner(draw, made, shape, same_channels=False)
        if theirs[0] + shape[0] <= 8:
            made.put(made.node("Concat", [x, other], axis=1), (shape[0] + theirs[0], *shape[1:]))
        return
    fits = [(name, each) for name, each in made.maps if (each[0], each[2]) == (shape[0], shape[2])]
    other, theirs = draw(st.sampled_from(fits))
    if shape[1] + theirs[1] <= 40:
        made.put(made.node("Concat", [x, other], axis=2), (shape[0], shape[1] + theirs[1], shape[2]))


def _add(draw, made, x, shape, op="Add"):
    other, _ = _partner(draw, made, shape)
    made.put(made.node(op, [x, other]), shape)


def _multiply(draw, made, x, shape):
    _add(draw, made, x, shape, "Mul")


def _where(draw, made, x, shape):
    other, _ = _partner(draw, made, shape)
    made.put(made.node("Where", [made.node("Greater", [x, made.weight(np.float32(0.1).reshape(()))]), x, other]), shape)


def _prelu(draw, made, x, shape):
    made.put(made.node("PRelu", [x, made.noise(shape[0], 1, 1)]), shape)


def _twice(draw, made, x, shape):
    made.put(made.node("Mul", [x, x]), shape)


def _self_concat(draw, made, x, shape):
    if shape[1] <= 16:
        made.put(made.node("Concat", [x, x], axis=2), (shape[0], 2 * shape[1], shape[2]))


def _slice(draw, made, x, shape):
    axis = draw(st.sampled_from([1, 2, 2, 3]))
    size = shape[axis - 1]
    start = draw(st.integers(0, size - 1))
    end, step = draw(st.integers(start + 1, size)), draw(st.integers(1, 3))
    y = made.node("Slice", [x, *(made.weight(np.array([each])) for each in (start, end, axis, step))])
    after = list(shape)
    after[axis - 1] = -(-(end - start) // step)
    made.put(y, tuple(after))


def _flip(draw, made, x, shape):
    y = made.node("Slice", [x, *(made.weight(np.array([each])) for each in (-1, -(2**31), 2, -1))])
    made.put(y, shape)


def _pad(draw, made, x, shape):
    c, h, w = shape
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    most = min(3, h - 1)
    before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
    pads = made.weight(np.array([0, 0, before, 0, 0, 0, after, 1 if mode == "constant" else 0]))
    if mode == "wrap":
        node = made.node("Pad", [x, pads], mode=mode) if made.count else ""
    else:
        node = made.node("Pad", [x, pads, made.weight(np.float32(0.7).reshape(()))] if mode == "constant" else [x, pads],
                         mode=mode)  # fmt: skip
    made.put(node, (c, h + before + after, w + (mode == "constant")))


def _split(draw, made, x, shape):
    axis = draw(st.sampled_from([1, 2]))
    size = shape[axis - 1]
    if size < 2:
        return
    first = draw(st.integers(1, size - 1))
    one, two = made.node("Split", [x, made.weight(np.array([first, size - first]))], outputs=2, axis=axis)
    for name, part in ((one, first), (two, size - first)):
        after = list(shape)
        after[axis - 1] = part
        made.put(name, tuple(after))


def _space(draw, made, x, shape):
    c, h, w = shape
    if h % 2 == 0 and w % 2 == 0 and c <= 2:
        made.put(made.node("SpaceToDepth", [x], blocksize=2), (4 * c, h // 2, w // 2))


def _depth(draw, made, x, shape):
    c, h, w = shape
    if c % 4 == 0 and h <= 16:
        mode = draw(st.sampled_from(["DCR", "CRD"]))
        made.put(made.node("DepthToSpace", [x], blocksize=2, mode=mode), (c // 4, 2 * h, 2 * w))


def _softmax(draw, made, x, shape):
    made.put(made.node("Softmax", [x], axis=draw(st.sampled_from([1, 3, 2]))), shape)


def _layer_norm(draw, made, x, shape):
    made.put(made.node("LayerNormalization", [x, made.noise(shape[2])], axis=-1), shape)


def _normalise(draw, made, x, shape):
    c = shape[0]
    if draw(st.booleans()):
        positive = made.weight(np.full(c, 0.5, np.float32))
        made.put(made.node("BatchNormalization", [x, made.noise(c), made.noise(c), made.noise(c), positive]), shape)
    else:
        made.put(made.node("InstanceNormalization", [x, made.noise(c), made.noise(c)]), shape)


def _excite(made, descriptor, channels):
    reduced = made.node("Relu", [made.node("Conv", [descriptor, made.noise(2, channels, 1, 1)])])
    return made.node("Sigmoid", [made.node("Conv", [reduced, made.noise(channels, 2, 1, 1)])])


def _se(draw, made, x, shape):
    made.put(made.node("Mul", [x, _excite(made, made.node("GlobalAveragePool", [x]), shape[0])]), shape)


def _global_max(draw, made, x, shape):
    made.put(made.node("Add", [x, made.node("GlobalMaxPool", [x])]), shape)


def _gate_tile(draw, made, x, shape):
    c, h, w = shape
    k = draw(st.integers(1, h))
    tiles = -(-h // k)
    pooled = made.node("AveragePool", [x], kernel_shape=[k, w], strides=[k, w], pads=[0, 0, -h % k, 0])
    gate = _excite(made, pooled, c)
    if draw(st.booleans()):
        gate = made.node("Gather", [gate, made.weight(np.arange(h) // k)], axis=2)
    else:
        scales = made.weight(np.array([1, 1, k, 1], np.float32))
        gate = made.node("Resize", [gate, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric",
                         nearest_mode="floor")  # fmt: skip
        if tiles * k > h:
            gate = made.node("Slice", [gate, *(made.weight(np.array([each])) for each in (0, h, 2))])
    made.put(made.node("Mul", [gate, x] if draw(st.booleans()) else [x, gate]), shape)


def _gate_running(draw, made, x, shape):
    """Row group j uses the mean of rows 0 to min(j · s + k, H) − 1, s = 1."""
    c, h, w = shape
    k = draw(st.integers(1, h))
    sums = made.node("CumSum", [made.node("ReduceMean", [x, made.weight(np.array([3]))]),
                                made.weight(np.array(2))])  # fmt: skip
    ends = np.minimum(np.arange(h - k + 1) + k, h)
    at = made.node("Gather", [sums, made.weight(ends - 1)], axis=2)
    mean = made.node("Div", [at, made.weight(ends.astype(np.float32).reshape(1, 1, -1, 1))])
    gate = _excite(made, mean, c)
    gate = made.node("Gather", [gate, made.weight(np.minimum(np.arange(h), h - k))], axis=2)
    made.put(made.node("Mul", [x, gate]), shape)


def _gate_upper(draw, made, x, shape):
    c, h, w = shape
    k = draw(st.integers(1, h))
    start = draw(st.sampled_from([0, (h - k) // 2]))
    part = made.node("Slice", [x, *(made.weight(np.array([each])) for each in (start, start + k, 2))])
    made.put(made.node("Mul", [x, _excite(made, made.node("GlobalAveragePool", [part]), c)]), shape)


def _row_mean(draw, made, x, shape):
    axes, op = (
        made.weight(np.array([draw(st.sampled_from([1, 2, 3]))])),
        draw(st.sampled_from(["ReduceMean", "ReduceMax"])),
    )
    made.put(made.node("Sub", [x, made.node(op, [x, axes])]), shape)


def _reduce(draw, made, x, shape):
    op = draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2", "ReduceMin", "ReduceL1"]))
    flat = made.node("Reshape", [x, made.weight(np.array([1, shape[0], -1]))])
    reduced = made.node(op, [flat, made.weight(np.array([2]))])
    back = made.node("Reshape", [reduced, made.weight(np.array([1, shape[0], 1, 1]))])
    made.put(made.node("Add", [x, back]), shape)


def _cumsum(draw, made, x, shape):
    axis = made.weight(np.array(draw(st.sampled_from([1, 2, 2, 3]))))
    made.put(made.node("CumSum", [x, axis], exclusive=draw(st.sampled_from([0, 0, 1])),
                       reverse=draw(st.sampled_from([0, 0, 0, 1]))), shape)  # fmt: skip


def _gather(draw, made, x, shape):
    c, h, w = shape
    picked = draw(st.lists(st.integers(-h, h - 1), min_size=1, max_size=8))
    made.put(made.node("Gather", [x, made.weight(np.array(picked))], axis=2), (c, len(picked), w))


def _shuffle(draw, made, x, shape):
    """Channel shuffle by Reshape and Transpose, or depth to space by the same."""
    c, h, w = shape
    if c % 4 == 0 and h <= 16 and draw(st.booleans()):
        six = made.node("Reshape", [x, made.weight(np.array([1, c // 4, 2, 2, h, w]))])
        turned = made.node("Transpose", [six], perm=[0, 1, 4, 2, 5, 3])
        made.put(made.node("Reshape", [turned, made.weight(np.array([1, c // 4, 2 * h, 2 * w]))]),
                 (c // 4, 2 * h, 2 * w))  # fmt: skip
    elif c % 2 == 0:
        five = made.node("Reshape", [x, made.weight(np.array([1, 2, c // 2, h, w]))])
        turned = made.node("Transpose", [five], perm=[0, 2, 1, 3, 4])
        made.put(made.node("Reshape", [turned, made.weight(np.array([1, c, h, w]))]), shape)
    elif h % 2 == 0 and w % 2 == 0:
        six = made.node("Reshape", [x, made.weight(np.array([1, c, h // 2, 2, w // 2, 2]))])
        turned = made.node("Transpose", [six], perm=[0, 3, 5, 1, 2, 4])
        made.put(made.node("Reshape", [turned, made.weight(np.array([1, 4 * c, h // 2, w // 2]))]),
                 (4 * c, h // 2, w // 2))  # fmt: skip


def _nhwc(draw, made, x, shape):
    c = shape[0]
    last = made.node("Transpose", [x], perm=[0, 2, 3, 1])
    mixed = made.node("MatMul", [last, made.noise(c, c)])
    mixed = made.node("Add", [mixed, last])
    if draw(st.booleans()):
        mean = made.node("ReduceMean", [mixed, made.weight(np.array([1, 2]))])
        mixed = made.node("Mul", [mixed, made.node("Sigmoid", [mean])])
    made.put(made.node("Transpose", [mixed], perm=[0, 3, 1, 2]), shape)


def _tile(draw, made, x, shape):
    c, h, w = shape
    axis = draw(st.sampled_from([2, 3]))
    if (h if axis == 2 else w) <= 10:
        repeats = np.ones(4, np.int64)
        repeats[axis] = 2
        made.put(made.node("Tile", [x, made.weight(repeats)]), (c, h * int(repeats[2]), w * int(repeats[3])))


def _expand(draw, made, x, shape):
    mean = made.node("GlobalAveragePool", [x])
    made.put(made.node("Expand", [mean, made.weight(np.array([1, *shape]))]), shape)


def _barrier(draw, made, x, shape):
    """Attention over space: every row needs all."""
    c, h, w = shape
    flat = made.node("Reshape", [x, made.weight(np.array([1, c, h * w]))])
    turned = made.node("Transpose", [flat], perm=[0, 2, 1])
    scores = made.node("Softmax", [made.node("MatMul", [flat, turned])], axis=-1)
    mixed = made.node("MatMul", [scores, flat])
    made.put(made.node("Reshape", [mixed, made.weight(np.array([1, c, h, w]))]), shape)


def _qdq(draw, made, x, shape):
    scale, zero = made.weight(np.float32(0.05).reshape(())), made.weight(np.uint8(128).reshape(()))
    quantised = made.node("QuantizeLinear", [x, scale, zero])
    made.put(made.node("DequantizeLinear", [quantised, scale, zero]), shape)


def _attention(draw, made, x, shape):
    """Coordinate attention: the mean of each row and of each column."""
    rows = made.node("Sigmoid", [made.node("ReduceMean", [x, made.weight(np.array([3]))])])
    columns = made.node("Sigmoid", [made.node("ReduceMean", [x, made.weight(np.array([2]))])])
    made.put(made.node("Mul", [made.node("Mul", [x, rows]), columns]), shape)


def _elementwise(draw, made, x, shape):
    op = draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Abs", "Identity", "LeakyRelu"]))
    made.put(made.node(op, [x]), shape)


def _constant(draw, made, x, shape):
    c, h, w = shape
    forms = [(1, c, h, w), (c, 1, 1), (h, 1), (1, w), (1, 1, h, w)]
    made.put(made.node("Add", [x, made.noise(*draw(st.sampled_from(forms)))]), shape)


def _matmul(draw, made, x, shape):
    made.put(made.node("MatMul", [x, made.noise(shape[2], 4)]), (*shape[:2], 4))


def _matmul_rows(draw, made, x, shape):
    """A band matrix over the rows."""
    c, h, w = shape
    band = np.tril(np.ones((h, h), np.float32)) - np.tril(np.ones((h, h), np.float32), -draw(st.integers(1, h)))
    made.put(made.node("MatMul", [made.weight(band / h), x]), shape)


def _head(draw, made, x, shape):
    c, h, w = shape
    form = draw(st.sampled_from(["flatten", "mean", "reshape", "argmax"]))
    if form == "flatten":
        flat = made.node("Relu", [made.node("Flatten", [x])])
        made.heads.append(made.node("Gemm", [flat, made.noise(3, c * h * w), made.noise(3)], transB=1))
    elif form == "mean":
        flat = made.node("Flatten", [made.node("GlobalAveragePool", [x])])
        made.heads.append(made.node("MatMul", [flat, made.noise(c, 3)]))
    elif form == "reshape":
        flat = made.node("Reshape", [x, made.weight(np.array([1, -1]))])
        made.heads.append(made.node("MatMul", [flat, made.noise(c * h * w, 3)]))
    else:
        made.heads.append(made.node("Cast", [made.node("ArgMax", [x], axis=draw(st.sampled_from([1, 2])))],
                                    to=TensorProto.FLOAT))  # fmt: skip


_STEPS = {
    name: globals()[f"_{name}"] for name in _MAPS if not name.startswith("resize") and f"_{name}" in globals()
} | {
    "resize_nearest": lambda draw, made, x, shape: _resize(draw, made, x, shape, "nearest"),
    "resize_linear": lambda draw, made, x, shape: _resize(draw, made, x, shape, "linear"),
    "resize_cubic": lambda draw, made, x, shape: _resize(draw, made, x, shape, "cubic"),
    "resize_sizes": lambda draw, made, x, shape: _resize(
        draw, made, x, shape, draw(st.sampled_from(["nearest", "linear"])), sizes=True
    ),
    "resize_crop": _resize_crop,
}
OPERATORS = tuple(_MAPS)
assert set(_STEPS) == set(_MAPS)
