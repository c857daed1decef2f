"""Hostile models: each is converted as it should be or refused in one line, by every command, soon and in little room.

`HOSTILE` is a table from a name to a builder and to what `convert --no-verify` says: a part of the one line of its
error, or "" where the model is converted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.fuzz.mutate import ESCAPES
from tests.fuzz.seeds import _scoped
from tests.graphs import se_body, se_model, se_weights, text_model
from tests.running import peak
from tests.spellings import Spelling, model_of
from tse_onnx.errors import TseError
from tse_onnx.passes.edit.record import BLOCK, TILING, UNDO
from tse_onnx.passes.forms import excite
from tse_onnx.passes.graph.layout import VIEWS
from tse_onnx.passes.names import fresh

SECONDS = 20
SECRET = b"kept outside the folder of the model"


def _se(**options: object) -> ModelProto:
    return se_model(opset=18, **options)


def _broken(change: Callable[[ModelProto], object], start: Callable[[], ModelProto] = _se) -> Callable[[], bytes]:
    def build() -> bytes:
        model = ModelProto()
        model.CopyFrom(start())
        change(model)
        return model.SerializeToString()

    return build


def _node(model: ModelProto, operator: str, number: int = 0) -> onnx.NodeProto:
    return [node for node in model.graph.node if node.op_type == operator][number]


def _attribute(operator: str, **attributes: object) -> Callable[[], bytes]:
    """The block with attributes of an operator changed."""

    def change(model: ModelProto) -> None:
        node = _node(model, operator)
        for name, value in attributes.items():
            kept = [one for one in node.attribute if one.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return _broken(change)


def _body(lines: str, **options: object) -> Callable[[], bytes]:
    """A model of these lines and the block behind them, which reads `h`."""
    return lambda: text_model(
        f"{lines}\n{se_body()}\ny = Neg(s)", se_weights(), opset=18, **options
    ).SerializeToString()  # fmt: skip


def _unchecked(size: int) -> bytes:
    """A width that nobody contradicts, because the size of the output is not known at all."""
    model = text_model("r = Conv(x, w1)\nk = Relu(r)\ny = vendor.Odd(k)", se_weights(), opset=18, inputs="float[1, 8, 16, 12] x",
                       outputs="float y", imports=', "vendor" : 1')  # fmt: skip
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.value_info.extend(helper.make_tensor_value_info(name, 1, [1, 4, 1, size]) for name in "rk")
    return model.SerializeToString()


def _initializer(name: str, **fields: object) -> Callable[[], bytes]:
    def change(model: ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        for key, value in fields.items():
            if isinstance(value, list):
                del getattr(tensor, key)[:]
                getattr(tensor, key).extend(value)
            else:
                setattr(tensor, key, value)

    return _broken(change)


def _raw(old: bytes, new: bytes) -> Callable[[], bytes]:
    return lambda: _se().SerializeToString().replace(old, new)


def _opset(*versions: int, domain: str = "") -> Callable[[], bytes]:
    def change(model: ModelProto) -> None:
        del model.opset_import[:]
        for version in versions:
            model.opset_import.add(domain=domain, version=version)

    return _broken(change)


def _dims(*dims: object) -> Callable[[], bytes]:
    """The block on an input of these dimensions, its output's being unknown."""

    def change(model: ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, dims))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [None] * len(dims)))

    return _broken(change)


def _nested(depth: int) -> bytes:
    """If within If, as bytes: no library of protobuf makes what it cannot read."""

    def field(number: int, data: bytes) -> bytes:
        length, made = len(data), bytearray()
        while length > 0x7F:
            made.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([number << 3 | 2, *made, length]) + data

    graph = leaf = field(1, field(1, b"x") + field(2, b"o") + field(4, b"Neg"))
    for _ in range(depth):
        branches = [field(5, field(1, name) + field(6, body) + b"\xa0\x01\x05")
                    for name, body in ((b"then_branch", graph), (b"else_branch", leaf))]  # fmt: skip
        node = field(1, b"c") + field(2, b"o") + field(4, b"If") + b"".join(branches)
        graph = field(1, node)
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x12")


def _loops(depth: int) -> bytes:
    """Loop within Loop, each body an attribute of a node of the one around it."""
    body = GraphProto(name="innermost")
    body.node.add(op_type="Identity", input=["c"], output=["d"])
    for _ in range(depth):
        outer = GraphProto(name="body")
        node = outer.node.add(op_type="Loop", input=["m", "c"], output=[])
        node.output.append("q")
        node.attribute.add(name="body", type=AttributeProto.GRAPH).g.CopyFrom(body)
        body = outer
    model = _se()
    model.graph.node.add(op_type="Loop", input=["m", "c"], output=["unused"]).attribute.add(
        name="body", type=AttributeProto.GRAPH
    ).g.CopyFrom(body)
    return model.SerializeToString()


def _functions(calls: dict[str, list[str]], called: str) -> Callable[[], bytes]:
    """Functions by name, each a chain of calls; the model calls one of them before its block."""

    def build() -> bytes:
        model = text_model(f"u = loc.{called}(x)\nh = Neg(u)\n{se_body()}\ny = Neg(s)", se_weights(), opset=18,
                           imports=', "loc" : 1')  # fmt: skip
        for name, inner in calls.items():
            nodes = [helper.make_node(call, [f"v{place}"], [f"v{place + 1}"], domain="" if call == "Neg" else "loc")
                     for place, call in enumerate(inner)]  # fmt: skip
            imports = [helper.make_opsetid("", 18), helper.make_opsetid("loc", 1)]
            model.functions.append(helper.make_function("loc", name, ["v0"], [f"v{len(inner)}"], nodes, imports))
        return model.SerializeToString()

    return build


def _concats(count: int) -> Callable[[], bytes]:
    """A list of sizes that doubles `count` times."""
    lines = ["p0 = Shape(x)"] + [f"p{n + 1} = Concat<axis = 0>(p{n}, p{n})" for n in range(count)]
    return _body("\n".join(lines) + f"\nk = Size(p{count})\nh = LeakyRelu(x)")


def _record(**changes: object) -> Callable[[], bytes]:
    """A converted model whose record of the original says something else."""
    import base64
    import json
    import zlib

    def build() -> bytes:
        model = tse_onnx.convert(_se(), rows=3, verify=False).model
        for node in model.graph.node:
            for entry in node.metadata_props:
                if entry.key == UNDO:
                    kept = GraphProto.FromString(zlib.decompress(base64.b64decode(entry.value)))
                    kept.doc_string = json.dumps(json.loads(kept.doc_string) | changes)
                    entry.value = base64.b64encode(zlib.compress(kept.SerializeToString())).decode()
        return model.SerializeToString()

    return build


def _mark(key: str, value: str) -> Callable[[], bytes]:
    def build() -> bytes:
        model = tse_onnx.convert(_se(), rows=3, verify=False).model
        for node in model.graph.node:
            for entry in node.metadata_props:
                if entry.key == key:
                    entry.value = value
        return model.SerializeToString()

    return build


def _bomb() -> str:
    import base64
    import zlib

    return base64.b64encode(zlib.compress(bytes(2**28), 9)).decode()


def _renamed(old: str, new: str) -> Callable[[], bytes]:
    def change(model: ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                for slot, name in enumerate(names):
                    names[slot] = new if name == old else name

    return _broken(change)


def _many(operator: str, count: int) -> Callable[[], bytes]:
    def change(model: ModelProto) -> None:
        model.graph.node.add(op_type=operator, input=["x"] * count, output=["wide"])

    return _broken(change)


def _latin(old: str) -> ModelProto:
    model = _se()
    model.graph.node[0].doc_string = old
    return model


def _twice(data: bytes) -> bytes:
    model = ModelProto.FromString(data)
    model.functions.append(model.functions[0])
    return model.SerializeToString()


def _crowd(count: int) -> bytes:
    """Poolings of one name, each a candidate."""
    model = _se()
    model.graph.node.extend(
        helper.make_node("GlobalAveragePool", ["x"], [f"p{number}"], name="pool") for number in range(count)
    )
    return model.SerializeToString()


def _typed(number: int) -> bytes:
    """The type of an attribute as a number that protobuf's own setter refuses."""
    data = _se().SerializeToString()
    return data.replace(
        b"\n\x05alpha\x15\x00\x00\x00?\xa0\x01\x01", b"\n\x05alpha\x15\x00\x00\x00?\xa0\x01" + bytes([number])
    )


def _unpacked(name: str, kept: slice) -> bytes:
    model = _se()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    numbers = numpy_helper.to_array(tensor).reshape(-1)[kept].tolist()
    tensor.ClearField("raw_data")
    tensor.float_data.extend(numbers)
    return model.SerializeToString()


_CLAIM = "initializer 'w1' claims"
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # What is no model.
    "random bytes": (lambda: np.random.default_rng(0).bytes(5000), "is not an ONNX model"),
    "a huge varint": (lambda: b"\x08" + b"\xff" * 100, "is not an ONNX model"),
    "a length beyond the end": (lambda: b"\x3a\xff\xff\xff\xff\x07", "is not an ONNX model"),
    "half a model": (lambda: _se().SerializeToString()[:300], "is not an ONNX model"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an ONNX model"),
    "a model twice": (lambda: _se().SerializeToString() * 2, "two inputs"),
    "an empty graph": (_broken(lambda model: model.graph.Clear()), "without nodes"),
    "no outputs": (_broken(lambda model: model.graph.ClearField("output")), ""),
    "an output that is an initializer": (
        _broken(lambda model: model.graph.output[0].CopyFrom(helper.make_tensor_value_info("w1", 1, [4, 8, 1, 1]))), ""),
    "no inputs": (_broken(lambda model: model.graph.ClearField("input")), "rank is not known"),
    "no opset": (_opset(), "no graph, IR version or opset"),
    "opset 0": (_opset(0), "imports version 0"),
    "opset -1": (_opset(-1), "imports version -1"),
    "opset 10^9": (_opset(10**9), ""),
    "opset 2^63 - 1": (_opset(2**63 - 1), ""),
    "two opsets": (_opset(11, 18), "imports two versions"),
    "an opset of another domain alone": (_opset(1, domain="vendor"), "No opset import"),
    "IR version -5": (_broken(lambda model: setattr(model, "ir_version", -5)), ""),
    # Names.
    "a node's name that is not UTF-8": (_raw(b"LeakyRelu", b"Leaky\xff\xfe\xfa\xfb"), "is not UTF-8"),
    "a text that nobody reads is not UTF-8": (
        lambda: _latin("remark").SerializeToString().replace(b"remark", b"re\xff\xfe\xfdk"), ""),
    "escapes in every name": (_renamed("d", ESCAPES), ""),
    "a name of 100,000 letters": (_renamed("d", "d" * 10**5), ""),
    "a value made twice": (_broken(lambda model: model.graph.node.append(model.graph.node[0])), "has already"),
    "a value made twice by one node": (
        _broken(lambda model: model.graph.node.add(op_type="Split", input=["x"], output=["a", "a"])), "has already"),
    "a value that is an input as well": (_renamed("h", "x"), "has already"),
    "a value that is an initializer as well": (_renamed("h", "w2"), "has already"),
    "two inputs of one name": (
        _broken(lambda model: model.graph.input.append(model.graph.input[0])), "two inputs of graph 'g'"),
    "an input without a name": (_broken(lambda model: setattr(model.graph.input[0], "name", "")), "has no name"),
    "an output without a name": (_broken(lambda model: setattr(model.graph.output[0], "name", "")), "has no name"),
    "two initializers of one name": (
        _broken(lambda model: model.graph.initializer.append(model.graph.initializer[0])), "two initializers"),
    "an initializer and a sparse one of one name": (
        _broken(lambda model: model.graph.sparse_initializer.add(
            values=model.graph.initializer[0], indices=numpy_helper.from_array(np.zeros(32, np.int64)), dims=[32])),
        "two initializers"),
    "two nodes of one name": (_broken(lambda model: [setattr(node, "name", "n") for node in model.graph.node]), ""),
    "two types for one value": (
        _broken(lambda model: model.graph.value_info.extend(
            [helper.make_tensor_value_info("d", 1, [1, 8, 1, 1]), helper.make_tensor_value_info("d", 7, [9])])), ""),
    "two functions of one name": (
        lambda: _twice(_functions({"F": ["Neg"]}, "F")()), "two functions are called 'F'"),
    "two attributes of one name": (
        _broken(lambda model: model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])), "twice"),
    "two outputs of one name": (_broken(lambda model: model.graph.output.append(model.graph.output[0])), ""),
    "a thousand blocks of one name": (lambda: _crowd(300), ""),
    # Nodes.
    "a cycle of two nodes": (_renamed("h", "s"), "has already"),
    "a node that reads itself": (
        _broken(lambda model: model.graph.node.add(op_type="Neg", input=["q"], output=["q"])), "a cycle"),
    "a cycle behind the block": (
        _broken(lambda model: model.graph.node.extend([helper.make_node("Add", ["p", "y"], ["q"]),
                                                       helper.make_node("Neg", ["q"], ["p"])])), "a cycle"),
    "a pooling without inputs": (
        _broken(lambda model: _node(model, "GlobalAveragePool").ClearField("input")), "has 0 inputs"),
    "a pooling without outputs": (
        _broken(lambda model: _node(model, "GlobalAveragePool").ClearField("output")), "has 0 outputs"),
    "a pooling whose input has no name": (_renamed("h", ""), "lacks its first"),
    "a Conv with one input": (_broken(lambda model: _node(model, "Conv").ClearField("input")), "has 0 inputs"),
    "a Conv without weights": (
        _broken(lambda model: _node(model, "Conv").input.__setitem__(1, "")), "shape that is not known"),
    "a Mul of three": (_broken(lambda model: _node(model, "Mul").input.append("x")), "has 3 inputs"),
    "a value that nobody makes": (
        _broken(lambda model: _node(model, "Conv").input.__setitem__(0, "nowhere")), "never multiplied back"),
    "a sum of 20,000": (_many("Sum", 20_000), ""),
    "a Neg of 100,000": (_many("Neg", 10**5), "has 100,000 inputs"),
    "an operator that nobody knows": (_many("NoSuchOperator", 2), ""),
    "an operator without a name": (_many("", 1), ""),
    "a node without inputs or outputs": (_broken(lambda model: model.graph.node.add()), "has no output"),
    # Attributes.
    "no alpha at all": (_broken(lambda model: model.graph.node[0].ClearField("attribute")), ""),
    "alpha is not a number": (_attribute("LeakyRelu", alpha=float("nan")), ""),
    "alpha is infinite": (_attribute("LeakyRelu", alpha=float("inf")), ""),
    "alpha is a text": (_attribute("LeakyRelu", alpha="0.5"), "'alpha' of LeakyRelu 'h' is not of type float"),
    "alpha is a list": (_attribute("LeakyRelu", alpha=[0.5]), "is not of type float"),
    "alpha is of no type": (
        _broken(lambda model: model.graph.node[0].attribute[0].ClearField("type")), "is not of type float"),
    "alpha is of an unknown type": (lambda: _typed(99), "is not of type float"),
    "strides of 0": (_attribute("Conv", strides=[0, 0]), "has strides"),
    "strides of one axis": (_attribute("Conv", strides=[1]), ""),
    "pads below 0": (_attribute("Conv", pads=[-1, -1, -1, -1]), "pads the descriptor"),
    "pads for a line": (_attribute("Conv", pads=[0]), ""),
    "pads of 2^62": (_attribute("Conv", pads=[2**62] * 4), "pads the descriptor"),
    "a group of 0": (_attribute("Conv", group=0), "do not fit"),
    "a group of -2^63": (_attribute("Conv", group=-(2**63)), "do not fit"),
    "a kernel of 0": (_attribute("Conv", kernel_shape=[0, 0]), ""),
    "a kernel of 2^62": (_attribute("Conv", kernel_shape=[2**62, 2**62]), ""),
    "an auto_pad of no meaning": (_attribute("Conv", auto_pad=ESCAPES), ""),
    "dilations of 0": (_attribute("Conv", dilations=[0, 0]), ""),
    "an empty kernel of a pool": (_body("h = AveragePool<kernel_shape = [1, 1], strides = [0, 0]>(x)"), ""),
    "a pool of 2^40": (_body(f"h = AveragePool<kernel_shape = [{2**40}, {2**40}]>(x)"), ""),
    "a pool without a kernel": (_body("h = MaxPool(x)"), "lacks its attribute 'kernel_shape'"),
    "a Transpose to axes that are not there": (_body("h = Transpose<perm = [7, 1, -2, 3]>(x)"), "rank is not known"),
    "a Transpose of 10,000 axes": (
        _body(f"h = Transpose<perm = [{', '.join(map(str, range(10000)))}]>(x)"), "rank is not known"),
    "a Softmax along axis 2^62": (_body(f"h = Softmax<axis = {2**62}>(x)"), ""),
    "a Flatten at axis -2^62": (_body(f"k = Flatten<axis = -{2**62}>(x)\nh = LeakyRelu(x)"), ""),
    "a Cast to no type": (_body("h = Cast<to = 99>(x)"), ""),
    "a Resize without anything": (_body("h = Resize(x)"), ""),
    "a Constant of nothing": (_body("c = Constant()\nh = Add(x, c)"), ""),
    # Sizes.
    "dimensions of 2^62": (_dims("N", 8, 2**62, 2**62), ""),
    "channels of 2^62": (_dims("N", 2**62, 16, 12), "do not fit"),
    "an empty map": (_dims("N", 8, 0, 12), "empty map"),
    "dimensions of -1": (_dims("N", 8, -1, -1), "--input-shape"),
    "rank 0": (_dims(), "rank 0"),
    "rank 40": (_dims(*range(1, 41)), "rank 40"),
    "rank 5,000": (_dims(*[2] * 5000), "rank 5000"),
    "a Slice of a negative size": (
        _body("k = Conv(x, big)\n c0 = Constant<value = int64[1] {0}>()\n c2 = Constant<value = int64[1] {2}>()\n"
              "t = Slice(k, c0, c2, c2)\n h = LeakyRelu(x)",
              inputs="float[N, 8, 16, 12] x, float[8, 8, 99, 1] big"), "comes out with a size of -82"),
    "a Slice of a stated negative size": (
        _body("c0 = Constant<value = int64[1] {0}>()\n c16 = Constant<value = int64[1] {16}>()\n"
              "c2 = Constant<value = int64[1] {2}>()\n t = Slice(strange, c0, c16, c2)\n h = LeakyRelu(x)",
              inputs="float[N, 8, 16, 12] x, float[1, 8, -5, 12] strange"), ""),
    "a type that onnx does not know": (
        _broken(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 99)), "element type 99"),
    "an input of no type": (_broken(lambda model: model.graph.input[0].ClearField("type")), "has no shape"),
    "an input of type 0": (
        _broken(lambda model: model.graph.input[0].type.tensor_type.ClearField("elem_type")), ""),
    "a stated size of 2^62 that is false": (
        _broken(lambda model: setattr(model.graph.output[0].type.tensor_type.shape.dim[3], "dim_value", 2**62)), ""),
    "stated sizes that are false": (
        _broken(lambda model: model.graph.value_info.extend(
            helper.make_tensor_value_info(name, 1, dims)
            for name, dims in (("h", ["N", 8, 40, 12]), ("s", ["N", 8, 16]), ("d", []), ("e", [0])))), ""),
    "a stated rank that is false": (
        _broken(lambda model: model.graph.value_info.append(helper.make_tensor_value_info("h", 1, [2]))), "of rank 1"),
    "a region of interest that is a matrix": (
        _body("c2 = Constant<value = float[4, 2] {0, 1, 0, 1, 0, 1, 0, 1}>()\n c3 = Constant<value = float[4] {1, 1, 1, 1}>()\n"
              "h = Resize(x, c2, c3)"), ""),
    "a mean of a scalar": (_body("k = ReduceMean(one)\n h = Add(x, k)", inputs="float[N, 8, 16, 12] x, float one"), ""),
    "a sum along one axis twice": (
        _body("c2 = Constant<value = int64[2] {2, 2}>()\n k = ReduceSum(x, c2)\n h = LeakyRelu(x)"), ""),
    "a Slice along axes 2^62 and -9": (
        _body(f"c2 = Constant<value = int64[2] {{{2**62}, -9}}>()\n k = Slice(x, c2, c2, c2)\n h = LeakyRelu(x)"), ""),
    "a Gather at 2^62 of a shape": (
        _body(f"n = Shape(x)\n c2 = Constant<value = int64[1] {{{2**62}}}>()\n k = Gather(n, c2)\n h = LeakyRelu(x)"), ""),
    "a Reshape to 2^62 times 2^62": (
        _body(f"c2 = Constant<value = int64[2] {{{2**62}, {2**62}}}>()\n k = Reshape(x, c2)\n h = LeakyRelu(x)"), ""),
    # Tensors.
    "more data than claimed": (_initializer("w1", raw_data=bytes(4096)), _CLAIM),
    "less data than claimed": (_initializer("w1", raw_data=bytes(4)), _CLAIM),
    "dimensions of 2^40 and no more data": (_initializer("w1", dims=[2**40, 8, 1, 1]), _CLAIM),
    "dimensions whose product overflows": (_initializer("w1", dims=[2**40] * 4), "more elements than can be counted"),
    "dimensions whose product overflows to what is held": (_initializer("w1", dims=[2**32, 2**32, 32]), "more elements"),
    "a dimension of -4": (_initializer("w1", dims=[-4, -8, 1, 1]), "has a dimension of -4"),
    "weights of no type": (_initializer("w1", data_type=0), "element type 0, which onnx does not know"),
    "weights of type 99": (_initializer("w1", data_type=99), "element type 99"),
    "weights of type -1": (_initializer("w1", data_type=-1), "element type -1"),
    "weights that are strings": (_initializer("w1", data_type=TensorProto.STRING), _CLAIM),
    "weights that are not numbers": (_initializer("w1", raw_data=b"\xff" * 128), ""),
    "weights left out": (_initializer("w1", raw_data=b""), ""),
    "data in two fields": (_initializer("w1", float_data=[1.0] * 7), ""),
    "too few numbers": (
        lambda: _unpacked("w1", slice(0, 5)), "claims 32 elements; its data are 5"),
    "a Constant that claims more": (
        _broken(lambda model: model.graph.node.append(helper.make_node(
            "Constant", [], ["c"], value=TensorProto(data_type=1, dims=[2**40], raw_data=b"1234")))), "claims"),
    "a scalar with dimensions": (_initializer("b1", dims=[]), "initializer 'b1' claims 1 elements"),
    # Depth.
    "If within If, 20 deep": (lambda: _nested(20), ""),
    "If within If, 30 deep": (lambda: _nested(30), "nest more than 24 deep"),
    "If within If, 1,000 deep": (lambda: _nested(1000), "nest deeper than protobuf reads"),
    "If within If, 10,000 deep": (lambda: _nested(10_000), "nest deeper than protobuf reads"),
    "Loop within Loop, 20 deep": (lambda: _loops(20), ""),
    "Loop within Loop, 28 deep": (lambda: _loops(28), "nest more than 24 deep"),
    # Functions.
    "a function that calls itself": (_functions({"F": ["Neg", "F"]}, "F"), "function 'F' calls itself"),
    "functions that call each other": (
        _functions({"F": ["G"], "G": ["H"], "H": ["Neg", "F"]}, "F"), "calls itself"),
    "functions in a ring that nobody calls": (
        _functions({"F": ["Neg"], "G": ["H"], "H": ["G"]}, "F"), "calls itself"),
    "functions that double 60 times": (
        _functions({"F0": ["Neg"]} | {f"F{n + 1}": [f"F{n}"] * 2 for n in range(60)}, "F60"), "more than 1,000,000 nodes"),
    "functions that double 5 times": (
        _functions({"F0": ["Neg"]} | {f"F{n + 1}": [f"F{n}"] * 2 for n in range(5)}, "F5"), ""),
    "a function that is not there": (_functions({}, "F"), "rank is not known"),
    "a function called with too much": (
        _broken(lambda model: model.graph.node[0].input.extend(["c", "c", "c"]), lambda: _scoped(True)),
        "has 4 inputs"),
    # What grows.
    "ConstantOfShape of 2^40": (
        _body(f"n = Constant<value = int64[1] {{{2**40}}}>()\n c = ConstantOfShape(n)\n k = Shape(c)\n h = LeakyRelu(x)"), ""),
    "Expand to 2^40": (
        _body(f"n = Constant<value = int64[2] {{{2**20}, {2**20}}}>()\n o = Constant<value_float = 1.0>()\n"
              "c = Expand(o, n)\n k = Size(c)\n h = LeakyRelu(x)"), ""),
    "Tile by 2^40": (
        _body(f"n = Constant<value = int64[1] {{{2**40}}}>()\n o = Constant<value_floats = [1.0]>()\n"
              "c = Tile(o, n)\n k = Size(c)\n h = LeakyRelu(x)"), ""),
    "Range to 2^40": (
        _body(f"a0 = Constant<value_int = 0>()\n b0 = Constant<value_int = {2**40}>()\n d1 = Constant<value_int = 1>()\n"
              "c = Range(a0, b0, d1)\n k = Size(c)\n h = LeakyRelu(x)"), ""),
    "sizes that double 20 times": (_concats(20), ""),
    "sizes that double 60 times": (_concats(60), ""),
    "sizes that broadcast": (
        _body("p = Shape(x)\n c = Constant<value = int64[2] {4, 1}>()\n q = Reshape(p, c)\n t0 = Add(p, q)\n"
              + "".join(f"l{n} = Constant<value = int64[2] {{-1, 1}}>()\n f{n} = Constant<value = int64[1] {{-1}}>()\n"
                        f"v{n} = Reshape(t{n}, l{n})\n u{n} = Reshape(t{n}, f{n})\n t{n + 1} = Add(v{n}, u{n})\n"
                        for n in range(5)) + "h = LeakyRelu(x)"), ""),
}  # fmt: skip
# What onnxruntime would compute at the length that the model states: verification runs it, and takes what that takes.
RUNS_LONG = {"ConstantOfShape of 2^40", "Expand to 2^40", "Tile by 2^40", "Range to 2^40", "sizes that double 20 times",
             "sizes that double 60 times", "sizes that broadcast", "a sum of 20,000", "dimensions of 2^62"}  # fmt: skip
# Converted models whose record of the original was tampered with, and what `restore` says.
FORGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a record that is not base64": (_mark(UNDO, "%%%"), "remembers of its original is damaged"),
    "a record that unpacks to 256 MiB": (_mark(UNDO, _bomb()), "damaged"),
    "a record of no format": (_record(format="x"), "does not know"),
    "a record whose step is 2^60": (_record(step=2**60), "damaged"),
    "a record whose step is a text": (_record(step="1"), "damaged"),
    "a record of places that are not there": (_record(nodes=[[10**9, ["d"]]]), "was edited"),
    "a record of places below 0": (_record(nodes=[[-1, ["d"]]]), "damaged"),
    "a record of a number": (_record(nodes=7), "damaged"),
    "a record of a channel that is not there": (_record(channel=10**6), ""),
    "a record of weights that are not there": (_record(weights=[["w1", [-1], True, "doc_string"]]), "damaged"),
    "a record without its tiling": (_mark(TILING, "[]"), "damaged"),
    "a record of a tiling of 0 rows": (_mark(TILING, '{"rows": 0}'), "damaged"),
    "a record of a tiling of half a row": (_mark(TILING, '{"rows": 0.5}'), "damaged"),
    "a record of a tiling of text": (_mark(TILING, '{"rows": "7"}'), "damaged"),
    "a record of a block with escapes": (_mark(BLOCK, ESCAPES), ""),
}  # fmt: skip


def _commands() -> Iterator[tuple[str, ...]]:
    yield from (("inspect", "m.onnx"), ("inspect", "m.onnx", "--kinds", "all", "--format", "json"), ("explain", "m.onnx"),
                ("report", "m.onnx", "--rows", "3"), ("plan", "m.onnx"), ("stream", "m.onnx", "--no-run"),
                ("stream", "m.onnx"), ("restore", "m.onnx", "r.onnx"), ("convert", "m.onnx", "o.onnx", "--retile"),
                ("convert", "m.onnx", "o.onnx", "--squeeze", "running", "--rows", "3", "--no-verify"))  # fmt: skip


@contextmanager
def _soon(what: str) -> Iterator[None]:
    """Fail where something takes longer than `SECONDS`."""

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"{what} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _stands(folder: Path, *words: str) -> str:
    """A command ends well or in one line; that line. What it leaves behind is its output alone."""
    before = {path.name for path in folder.iterdir()}
    with _soon(" ".join(words)):
        done = command(*words, cwd=folder)
    shown = done.stdout.decode() + done.stderr.decode()
    assert not {letter for letter in shown if not letter.isprintable()} - {"\n"}, words
    new = {path.name for path in folder.iterdir()} - before
    assert new <= {"o.onnx", "r.onnx"}
    for name in new:
        os.unlink(folder / name)
    if done.returncode == 0:
        return ""
    assert not new
    if done.returncode == 1:  # a proof or a check of the numbers, which no model here was promised to pass
        assert words[0] in ("stream", "convert"), words
        assert done.stderr.startswith(b"Error: ")
        assert len(done.stderr.splitlines()) == 1
        return ""
    return refused(done)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_converted_or_refused(tmp_path, name):
    build, expected = HOSTILE[name]
    (tmp_path / "m.onnx").write_bytes(build())
    line = _stands(tmp_path, "convert", "m.onnx", "o.onnx", "--no-verify", "--rows", "3")
    if not expected:
        assert line == ""
    elif line:
        assert expected in line
    else:
        assert expected in command("inspect", "m.onnx", cwd=tmp_path).stdout.decode() + command(
            "report", "m.onnx", cwd=tmp_path).stdout.decode()  # fmt: skip
    for words in _commands():
        if name not in RUNS_LONG or words[0] not in ("stream", "convert") or words[-1].startswith("--no-"):
            _stands(tmp_path, *words)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_record_restores_nothing_it_should_not(tmp_path, name):
    build, expected = FORGED[name]
    (tmp_path / "m.onnx").write_bytes(build())
    line = _stands(tmp_path, "restore", "m.onnx", "r.onnx")
    assert expected in line
    assert bool(expected) == bool(line)
    for words in _commands():
        _stands(tmp_path, *words)


def test_a_device_that_never_ends_is_no_model(monkeypatch):
    monkeypatch.setattr("tse_onnx.files.source.LONGEST", 10**7)
    assert "it takes 10,485,760 bytes, and protobuf allows" in refused(command("inspect", "/dev/zero"))


# Weights in other files: what the entries of a tensor say, and the error; "" where all is well.
_THERE = {"location": "w.bin"}
EXTERNAL: dict[str, tuple[dict[str, str], str]] = {
    "beside the model": (_THERE, ""),
    "in a folder below": ({"location": "sub/w.bin"}, ""),
    "through a link that stays": ({"location": "inside.bin"}, ""),
    "the folder above": ({"location": "../secret.bin"}, "outside the model's folder"),
    "below and above": ({"location": "sub/../../secret.bin"}, "outside the model's folder"),
    "an absolute path": ({"location": "/etc/hostname"}, "outside the model's folder"),
    "a link that leads outside": ({"location": "outside.bin"}, "outside the model's folder through a link"),
    "a folder that leads outside": ({"location": "up/secret.bin"}, "outside the model's folder through a link"),
    "a link to a device": ({"location": "zero.bin"}, "outside the model's folder through a link"),
    "a device": ({"location": "/dev/zero"}, "outside the model's folder"),
    "a pipe that nobody writes": ({"location": "pipe.bin"}, "are missing"),
    "a folder": ({"location": "sub"}, "are missing"),
    "a circle of links": ({"location": "circle.bin"}, "cannot be followed"),
    "nothing": ({"location": ""}, "outside the model's folder"),
    "no location": ({}, "outside the model's folder"),
    "the folder itself": ({"location": "."}, "are missing"),
    "a file that is not there": ({"location": "none.bin"}, "are missing"),
    "a name with a null": ({"location": "w.bin\0"}, "outside the model's folder"),
    "a name with escapes": ({"location": ESCAPES}, "outside the model's folder"),
    "a name with backslashes": ({"location": "..\\secret.bin"}, "outside the model's folder"),
    "a name of 100,000 letters": ({"location": "n" * 100_000}, "external data at"),
    "an address in memory": ({"location": "*/_ORT_MEM_ADDR_/*", "offset": "140000000000"}, "an address in memory"),
    "a home folder": ({"location": "~/secret.bin"}, "are missing"),
    "a URL": ({"location": "file:///etc/hostname"}, "are missing"),
    "an offset below 0": (_THERE | {"offset": "-4"}, "'-4' for offset"),
    "an offset that is no number": (_THERE | {"offset": "0x10"}, "'0x10' for offset"),
    "an offset in other digits": (_THERE | {"offset": "٤"}, "for offset"),
    "an offset of 10^40": (_THERE | {"offset": "1" + "0" * 40}, "for offset"),
    "an offset behind the end": (_THERE | {"offset": "4096"}, "end at byte"),
    "a length behind the end": (_THERE | {"offset": "1000", "length": "128"}, "end at byte 1,128"),
    "a length below 0": (_THERE | {"length": "-128"}, "'-128' for length"),
    "a length of less than is claimed": (_THERE | {"length": "4"}, "have 4 bytes; its elements take 128"),
    "a length of more than is claimed": (_THERE | {"length": "256"}, "have 256 bytes"),
    "an offset that overlaps the other weight's": (_THERE | {"offset": "2", "length": "128"}, ""),
    "a checksum that is false": (_THERE | {"checksum": "no"}, ""),
}


@pytest.fixture
def weights(tmp_path) -> Path:
    """A folder with files to refer to, and one above it with a secret."""
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "out").mkdir()
    data = np.linspace(-1, 1, 256, dtype=np.float32).tobytes()
    for name in ("w.bin", "sub/w.bin"):
        (home / name).write_bytes(data)
    (tmp_path / "secret.bin").write_bytes(SECRET * 100)
    for name, target in (("inside.bin", "sub/w.bin"), ("outside.bin", "../secret.bin"), ("up", ".."),
                         ("zero.bin", "/dev/zero"), ("circle.bin", "circle.bin")):  # fmt: skip
        (home / name).symlink_to(target)
    os.mkfifo(home / "pipe.bin")
    return home


def _outside(model: ModelProto, where: str, entries: dict[str, str]) -> None:
    """Let a tensor's data lie elsewhere: that of an initializer, of a Constant, or of one in a body."""
    if where == "initializer":
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    else:
        node = helper.make_node("Constant", [], ["c"], value=TensorProto(data_type=1, dims=[32]))
        tensor = node.attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    if where == "constant":
        model.graph.node.append(node)
    elif where == "body":
        body = helper.make_graph([node], "body", [], [onnx.ValueInfoProto(name="c")])
        model.graph.node.add(op_type="If", input=["x"], output=["unused"]).attribute.extend(
            helper.make_attribute(name, body) for name in ("then_branch", "else_branch")
        )


@pytest.mark.slow
@pytest.mark.parametrize("where", ["initializer", "constant", "body"])
@pytest.mark.parametrize("name", EXTERNAL)
def test_weights_are_read_from_the_models_folder_alone(weights, name, where):
    entries, expected = EXTERNAL[name]
    model = _se()
    _outside(model, where, entries)
    (weights / "m.onnx").write_bytes(model.SerializeToString())
    for words in (("convert", "m.onnx", "out/o.onnx", "--no-verify", "--rows", "3"), ("convert", "m.onnx", "o.onnx"),
                  ("stream", "m.onnx"), ("restore", "m.onnx", "out/o.onnx")):  # fmt: skip
        with _soon(name):
            done = command(*words, cwd=weights)
        if expected:
            assert expected in refused(done)
            assert not list((weights / "out").iterdir())
        elif where != "body":
            assert done.returncode == 0, done.stderr
            assert (words[0] == "stream") or not any(
                SECRET in path.read_bytes() for path in (weights / "out").rglob("*") if path.is_file()
            )
            for path in sorted((weights / "out").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    assert command("inspect", "m.onnx", cwd=weights).returncode == 0  # which reads no weights


def test_two_places_for_one_weight_are_refused(weights):
    """A reader may take the first, onnxruntime the last."""
    model = _se()
    _outside(model, "initializer", _THERE)
    model.graph.initializer[0].external_data.add(key="location", value="../secret.bin")
    (weights / "m.onnx").write_bytes(model.SerializeToString())
    assert "says twice where" in _stands(weights, "convert", "m.onnx", "o.onnx")
    with pytest.raises(tse_onnx.ModelError, match="says twice where"):
        tse_onnx.convert(weights / "m.onnx", verify=False)


@pytest.mark.parametrize("name", ["functions that double 60 times", "a cycle behind the block", "opset -1"])
def test_the_library_refuses_what_the_commands_refuse(name):
    model = ModelProto.FromString(HOSTILE[name][0]())
    for call in (tse_onnx.find_blocks, tse_onnx.buffering, tse_onnx.convert, tse_onnx.stream, tse_onnx.restore):
        if call is tse_onnx.restore and "cycle" in name:
            continue  # which follows no values
        with pytest.raises(tse_onnx.ModelError):
            call(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sizes that double 60 times", "Expand to 2^40", "Range to 2^40", "Tile by 2^40",
                                  "a Slice of a stated negative size", "If within If, 10,000 deep"])  # fmt: skip
def test_what_would_take_native_code_down_does_not(tmp_path, name):
    """In a process of its own, with 4 GiB at most."""
    build, expected = HOSTILE[name]
    (tmp_path / "m.onnx").write_bytes(build())
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); "
        "from tse_onnx.cli import main; main(['report', 'm.onnx'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == (2 if expected else 0), done.stderr
    assert len(done.stderr.splitlines()) == bool(expected)


def test_an_input_without_a_type_may_be_bound(tmp_path):
    model = _se()
    model.graph.input[0].ClearField("type")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for words in (("inspect", "m.onnx"), ("convert", "m.onnx", "o.onnx", "--no-verify"), ("stream", "m.onnx")):
        _stands(tmp_path, *words, "--input-shape", "x:1,8,16,12")


PLANS = {
    "a number of 5,000 digits": f"default = {{ rows = {'9' * 5000} }}",
    "a number of 100 digits": f"default = {{ rows = {'9' * 100} }}",
    "rows below 0": "default = { rows = -1 }",
    "half a row": "default = { rows = 0.5 }",
    "no number": "default = { rows = nan }",
    "2,000 brackets": "default = " + "[" * 2000,
    "escapes": f'[blocks]\n"{ESCAPES}" = {{ rows = 1 }}',
    "escaped escapes": '[blocks]\n"\\u001b[31m" = { rows = 1 }',
    "a list": "blocks = []",
    "a date": "default = 2020-01-01",
}


@pytest.mark.parametrize("name", PLANS)
def test_a_hostile_plan_is_read_or_refused(tmp_path, name):
    (tmp_path / "m.onnx").write_bytes(_se().SerializeToString())
    (tmp_path / "plan.toml").write_text(f'schema = "tse-onnx/plan/1"\n{PLANS[name]}', newline="")
    _stands(tmp_path, "convert", "m.onnx", "o.onnx", "--no-verify", "--plan", "plan.toml")
    _stands(tmp_path, "plan", "m.onnx", "--plan", "plan.toml")


def test_names_that_are_taken_do_not_cost_a_search():
    """Forty thousand nodes of one name would otherwise ask a billion times whether a name is free."""
    taken = set[str]()
    with _soon("naming"):
        assert [fresh("pool", taken) for _ in range(40_000)][-1] == "pool_40000"


@pytest.mark.long
@pytest.mark.parametrize("words", [("inspect",), ("convert", "o.onnx", "--no-verify"), ("restore", "o.onnx")])
def test_a_million_nodes_take_ten_times_what_a_tenth_of_them_does(tmp_path, words):
    """Time and memory: within a factor of two of linear."""
    import time

    taken = []
    for count in (100_000, 1_000_000):
        model = _se()
        model.graph.node[0].output[0] = "n0"
        rest = list(model.graph.node[1:])
        del model.graph.node[1:]
        model.graph.node.extend(
            helper.make_node("Relu", [f"n{n}"], [f"n{n + 1}" if n < count - 1 else "h"]) for n in range(count)
        )
        model.graph.node.extend(rest)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        begun = time.perf_counter()
        memory = peak(
            words[0], tmp_path / "m.onnx", *(tmp_path / word if word == "o.onnx" else word for word in words[1:])
        )
        taken.append((time.perf_counter() - begun, memory))
        print(words[0], f"{count:,} nodes: {taken[-1][0]:.1f} s, {memory:,.0f} MiB")
    (one, small), (ten, large) = taken
    assert ten < 20 * one
    assert large < 20 * small


def test_cumsum_needs_an_opset_that_has_it(tmp_path):
    (tmp_path / "m.onnx").write_bytes(se_model(opset=10).SerializeToString())
    done = command("convert", "m.onnx", "o.onnx", "--squeeze", "running", "--means", "cumsum", cwd=tmp_path)
    assert "need opset 11; the model uses opset 10" in refused(done)
    assert not (tmp_path / "o.onnx").exists()


def test_a_function_without_an_opset_of_its_own_has_the_models():
    model = se_model(opset=17, height=17)
    function = model.functions.add(name="block", domain="local")
    function.input.append("h")
    function.output.append("s")
    inner = [node for node in model.graph.node if node.op_type not in ("LeakyRelu", "Neg")]
    function.node.extend(inner)
    for name in ("w1", "b1", "w2", "b2"):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        function.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=tensor))
    kept = [node for node in model.graph.node if node.op_type in ("LeakyRelu", "Neg")]
    del model.graph.node[:]
    model.graph.node.extend([kept[0], onnx.helper.make_node("block", ["h"], ["s"], domain="local"), kept[1]])
    model.opset_import.add(domain="local", version=1)
    converted = tse_onnx.convert(model, rows=3, means="pads", upsample="resize", verify=False)
    assert [decision.status for decision in converted.blocks] == ["converted"]
    slices = [node for node in converted.model.functions[0].node if node.op_type == "Slice"]
    assert slices
    assert all(len(node.input) >= 3 for node in slices)


@pytest.mark.parametrize("axes", [np.array([b"\xc3\xa9"], object), np.array([1.5], np.float32)])
def test_axes_that_are_no_numbers_are_computed_for_all_we_know(axes):
    model = se_model(squeeze="ReduceMean initializer", opset=18)
    place = next(place for place, tensor in enumerate(model.graph.initializer) if tensor.name == "se_axes")
    model.graph.initializer[place].CopyFrom(numpy_helper.from_array(axes, "se_axes"))
    assert all(block.refusal is not None for block in tse_onnx.find_blocks(model))


def test_a_tiling_of_what_json_calls_a_number():
    with pytest.raises(tse_onnx.UsageError, match="balanced or not"):
        tse_onnx.Tiling(3, balanced=float("nan"))


def test_weights_that_were_left_out_stay_as_they_are():
    """They will be filled in from elsewhere, so their layout is not ours to change."""
    model = model_of(Spelling(excite="gemm"))[0]
    expected = tse_onnx.convert(model, rows=3, verify=False, expect=1).model
    kept = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 2}
    bare = ModelProto()
    bare.CopyFrom(model)
    for tensor in bare.graph.initializer:
        if tensor.name in kept:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    converted = tse_onnx.convert(bare, rows=3, verify=False, expect=1).model
    after, usual = ({tensor.name: list(tensor.dims) for tensor in made.graph.initializer if tensor.name in kept}
                    for made in (converted, expected))  # fmt: skip
    assert after == kept
    assert usual != kept


@pytest.mark.parametrize("size", [2**24, 2**24 + 1, 2**63 - 1])
def test_a_batch_that_resize_cannot_count_is_not_converted(size):
    model = _se()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    converted = tse_onnx.convert(model, rows=3, verify=False)
    (block,) = converted.blocks
    if size > 2**24:
        assert (block.status, block.refusal.code) == ("refused", "shape")
        assert "exact sizes up to 16,777,216" in block.reason
    else:
        onnx.checker.check_model(converted.model, full_check=True)


@pytest.mark.parametrize(("domain", "opset"), [("", 18), ("", 9), ("com.microsoft", 18), ("nobody", 18)])
@pytest.mark.slow
def test_operators_without_their_inputs_are_refused_or_passed_by(domain, opset):
    """Each operator that the passes read, with each number of inputs, in the place of each node."""
    read = {operator.rpartition("::")[2] for operator in (*excite.FORMS, *VIEWS)}
    start = se_model(opset=opset)
    gate, sigmoid = _node(start, "Sigmoid").input[0], list(start.graph.node).index(_node(start, "Sigmoid"))
    start.graph.node[sigmoid].input[0] = "shifted"
    start.graph.node.insert(sigmoid, helper.make_node("Mul", [gate, "shift"], ["shifted"]))
    start.graph.node.insert(0, helper.make_node("Identity", ["b2"], ["shift"]))
    if domain:  # without it onnx's inference refuses every one of them
        start.opset_import.add(domain=domain, version=1)
    for operator in sorted(read):
        for place in range(len(start.graph.node)):
            for count in range(5):
                model = ModelProto()
                model.CopyFrom(start)
                node = model.graph.node[place]
                given = [*node.input, "w1", "b1", "w2", "b2"][:count]
                node.op_type, node.domain = operator, domain
                del node.input[:], node.attribute[:]
                node.input.extend(given)
                try:
                    tse_onnx.find_blocks(model, kinds=("se", "ese", "eca", "ge"))
                except TseError:
                    continue


def test_what_the_checker_says_of_a_model_is_printed_without_its_escapes(tmp_path):
    model = _se()
    _node(model, "Neg").op_type = ESCAPES
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    done = command("report", "m.onnx", "--rows", "3", cwd=tmp_path)
    assert b"No figures of the whole network" in done.stdout
    assert all(letter.isprintable() or letter == "\n" for letter in (done.stdout + done.stderr).decode())


def test_rows_that_are_too_many_are_refused_before_they_are_listed(tmp_path):
    (tmp_path / "m.onnx").write_bytes(_unchecked(2**31 - 1))
    assert "an axis of 2,147,483,647, more than" in refused(command("stream", "m.onnx", "--no-run", cwd=tmp_path))
