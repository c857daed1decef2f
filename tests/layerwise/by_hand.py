"""A network with one layer rounded, written without quantisers: by dividing, rounding and clipping, in the whole model.

Nothing here knows of cuts, of the room that measures, or of QuantizeLinear; what the numbers are is read out of the
quantised model by the names that onnxruntime gives them.
"""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper


def rounded(model, quantised, name, *, weights=True, activations=True):
    """`model` with the convolution called `name` rounded, and those that read the same value beside it where the
    quantised model has them do so and no convolution comes before this one."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    node = next(node for node in graph.node if node.name == name)
    theirs = {node.name: node for node in quantised.graph.node}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    makers = {output: node for node in quantised.graph.node for output in node.output}
    weight_names = {tensor.name for tensor in graph.initializer}
    read = node.input[0]
    if weights:
        for slot, weight in enumerate(node.input):
            maker = makers.get(theirs[name].input[slot])
            if weight in weight_names and maker is not None:
                numbers, scale, zero = (stored[one] for one in maker.input)
                along = [-1, *[1] * (numbers.ndim - 1)] if np.ndim(scale) else []
                array = (numbers.astype(np.float64) - zero.reshape(along)) * scale.reshape(along)
                graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), f"{name}.{slot}"))
                node.input[slot] = f"{name}.{slot}"
    last = makers.get(theirs[name].input[0])
    if activations and last is not None and last.op_type == "DequantizeLinear":
        scale, zero = (float(stored[one]) for one in last.input[1:])
        steps = [
            ("Div", ["{v}", scale]), ("Round", ["{v}"]), ("Add", ["{v}", zero]), ("Clip", ["{v}", 0.0, 255.0]),
            ("Sub", ["{v}", zero]), ("Mul", ["{v}", scale]),
        ]  # fmt: skip
        value, nodes = read, []
        for number, (op, inputs) in enumerate(steps):
            names = []
            for place, one in enumerate(inputs):
                if isinstance(one, float):
                    graph.initializer.append(numpy_helper.from_array(np.float32(one), f"{name}.{number}.{place}"))
                names.append(value if one == "{v}" else f"{name}.{number}.{place}")
            value = f"{name}.rounded.{number}"
            nodes.append(helper.make_node(op, names, [value]))
        convolutions = [one for one in graph.node if one.op_type == "Conv" and read in one.input]
        for other in graph.node:
            mine = other.name == name or (other.op_type != "Conv" and convolutions[0].name == name)
            if mine and read in other.input:
                other.input[list(other.input).index(read)] = value
        first = min(place for place, one in enumerate(graph.node) if value in one.input)
        for back, one in enumerate(nodes):
            graph.node.insert(first + back, one)
    return made


def noise(model, changed, feeds, extra=()):
    """Noise to signal of each output, and of `extra` values, over all of the feeds."""
    was, now = (_outputs(one, feeds, extra) for one in (model, changed))
    return {name: _ratio(array.astype(np.float64), now[name].astype(np.float64)) for name, array in was.items()}


def _ratio(was, now):
    """No noise is none, whatever the signal."""
    noise = float(np.square(now - was).sum())
    return noise / float(np.square(was).sum()) if noise else 0.0


def _outputs(model, feeds, extra):
    """Run as it is written: fused to integers, some processors saturate sums of products."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in extra)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in opened.get_outputs()]
    runs = [opened.run(None, feed) for feed in feeds]
    return {name: np.concatenate(those) for name, those in zip(names, zip(*runs, strict=True), strict=True)}
