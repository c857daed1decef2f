"""Every operator of the tables with descriptors in every operand position, and constants in the others.

Nobody has written down which constants an operator takes: a few shapes and types are tried in all combinations, and
onnxruntime says which of them are models. Each of these is refused with a reason, or converted to a valid model that
computes what the original's own nodes compute for each tile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import tse_onnx
from tests.running import session
from tse_onnx.passes.blocks.block import KINDS
from tse_onnx.passes.forms.excite import FORMS

OPERATORS = sorted(set(FORMS) - {"Upsample"})  # which this opset has not any more
OPSET = 21
CHANNELS, HEIGHT, WIDTH = 4, 6, 3
# What an operator cannot be without.
ATTRIBUTES = {
    "Cast": {"to": TensorProto.FLOAT},
    "Concat": {"axis": 1},
    "Split": {"axis": 1},
    "com.microsoft::FusedConv": {"activation": "Relu"},
    "com.microsoft::FusedGemm": {"activation": "LeakyRelu", "activation_alpha": 0.3},
}
# What no other operator takes.
FURTHER = {"Resize": (np.array([1, 1, 6, 3], np.float32),)}
# How the descriptor lies where the operator reads it, by the size of the batch: the target of a Reshape.
LAYOUTS = {
    2: {"NC11": (), "NC": (2, CHANNELS), "NC1": (2, CHANNELS, 1), "N11C": (2, 1, 1, CHANNELS)},
    1: {"NC11": (), "NC": (1, CHANNELS), "C": (CHANNELS,)},
}
_RANDOM = np.random.default_rng(7)


def _numbers(*shape: int) -> np.ndarray:
    return _RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


CONSTANTS = (
    None,
    *(_numbers(*shape) for shape in ((), (CHANNELS,), (1, CHANNELS, 1, 1), (CHANNELS, 1), (CHANNELS, CHANNELS),
                                     (CHANNELS, CHANNELS, 1, 1), (CHANNELS, CHANNELS, 1), (1, 1, 3), (2, CHANNELS))),
    *(np.array(value, np.int64) for value in ([1], [2, 3], [2, CHANNELS], [1, CHANNELS, 1, 1])),
    np.array(3, np.uint8), np.array(False), np.arange(CHANNELS, dtype=np.uint8),
)  # fmt: skip

# Operators in whole numbers read a step and a zero point beside each operand: what else they read, by the slots of the descriptors.
_BYTES = {shape: np.arange(np.prod(shape, dtype=int), dtype=np.uint8).reshape(shape) for shape in (
    (), (CHANNELS,), (1, CHANNELS, 1, 1), (CHANNELS, CHANNELS), (CHANNELS, CHANNELS, 1, 1), (CHANNELS, CHANNELS, 1),
    (1, 1, 3), (1, 1, 3, 1), (1, 1, 1, 3),
)}  # fmt: skip
_BIAS = np.arange(CHANNELS, dtype=np.int32)
_PAIR = (np.array(0.02, np.float32), np.array(0, np.uint8))
_WEIGHED = tuple(((0,), (*_PAIR, numbers, *_PAIR, *_PAIR)) for numbers in _BYTES.values())
_TWO = (*_WEIGHED, *(((3,), (numbers, *_PAIR, *_PAIR, *_PAIR)) for numbers in _BYTES.values()), ((0, 3), 3 * _PAIR))
WHOLE: Mapping[str, tuple[tuple[tuple[int, ...], tuple[np.ndarray | None, ...]], ...]] = {
    "QLinearConv": (*_WEIGHED, *((slots, (*given, _BIAS)) for slots, given in _WEIGHED)),
    "QLinearMatMul": _TWO,
    "com.microsoft::QGemm": tuple(
        (slots, (*given[:5], bias, *given[5:])) for slots, given in _WEIGHED for bias in (None, _BIAS)
    ),
    **dict.fromkeys(("com.microsoft::QLinearSigmoid", "com.microsoft::QLinearLeakyRelu"), (((0,), 2 * _PAIR),)),
    **dict.fromkeys(("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"), _TWO),
}

# What takes a part of the channels, here all of them.
PARTS: Mapping[str, tuple[np.ndarray, ...]] = {
    "Slice": (np.array([0]), np.array([CHANNELS]), np.array([1])),
    "Split": (np.array([CHANNELS]),),
}


# What makes a gate of one descriptor only with its like: several are stacked, or one of several is taken.
TOGETHER = frozenset({"Concat", "Gather"})


@dataclass(frozen=True)
class Case:
    """An operator with the descriptor in the `slots` and constants in the others, on [batch, C, H, W]."""

    operator: str
    batch: int
    layout: str
    quantised: bool
    slots: tuple[int, ...]
    constants: tuple[np.ndarray | None, ...]

    def nodes(self) -> tuple[list[NodeProto], list[TensorProto]]:
        """The nodes from `d`, the mean, to `o`, which the operator makes."""
        domain, _, op = self.operator.rpartition("::")
        weights, nodes, now = [], [], "d"
        target = LAYOUTS[self.batch][self.layout]
        if target:
            weights.append(numpy_helper.from_array(np.array(target), "target"))
            nodes.append(helper.make_node("Reshape", ["d", "target"], ["laid"]))
            now = "laid"
        if self.quantised:
            weights.append(numpy_helper.from_array(np.array(0.01, np.float32), "step"))
            weights.append(numpy_helper.from_array(np.array(0, np.uint8), "zero"))
            nodes.append(helper.make_node("QuantizeLinear", [now, "step", "zero"], ["q"]))
            now = "q"
        inputs = [now if slot in self.slots else "" for slot in range(len(self.slots) + len(self.constants))]
        for slot, constant in zip((slot for slot, name in enumerate(inputs) if not name), self.constants, strict=True):
            if constant is not None:
                inputs[slot] = f"c{slot}"
                weights.append(numpy_helper.from_array(constant, f"c{slot}"))
        given = ATTRIBUTES.get(self.operator, {})
        nodes.append(helper.make_node(op, inputs, ["o"], name="tried", domain=domain, **given))
        return nodes, weights

    def alone(self) -> tuple[int, ...] | None:
        """The shape of what the operator makes of [batch, C, 1, 1]; None where onnxruntime refuses."""
        nodes, weights = self.nodes()
        model = _model(nodes, weights, ("d", (self.batch, CHANNELS, 1, 1)), ("o", None))
        try:
            onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
            opened = session(model)
            return opened.run(None, {"d": np.full((self.batch, CHANNELS, 1, 1), 0.5, np.float32)})[0].shape
        except Exception:
            return None

    def model(self, shape: tuple[int, ...]) -> onnx.ModelProto:
        """x · the operator's result, put under the axes of the map if it has as many elements as the descriptor."""
        nodes, weights = self.nodes()
        nodes[:0] = [helper.make_node("Sigmoid", ["x"], ["h"]), helper.make_node("GlobalAveragePool", ["h"], ["d"])]
        made = "o"
        if np.prod(shape) == self.batch and not self.quantised:  # one number for all channels scales each of them
            made, target = "each", LAYOUTS[self.batch][self.layout]
            nodes.append(helper.make_node("Mul", ["laid" if target else "d", "o"], [made]))
            shape = target or (self.batch, CHANNELS, 1, 1)
        nodes.append(helper.make_node("Cast", [made], ["g"], to=TensorProto.FLOAT))
        gate = "g"
        if np.prod(shape) == self.batch * CHANNELS and shape != (self.batch, CHANNELS, 1, 1):
            weights.append(numpy_helper.from_array(np.array([self.batch, CHANNELS, 1, 1]), "map"))
            nodes.append(helper.make_node("Reshape", ["g", "map"], ["placed"]))
            gate = "placed"
        nodes.append(helper.make_node("Mul", ["h", gate], ["y"]))
        return _model(nodes, weights, ("x", (self.batch, CHANNELS, HEIGHT, WIDTH)), ("y", (None,) * 4))


def _model(nodes: list[NodeProto], weights: list[TensorProto], given: tuple, made: tuple) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (given, made)]
    if made[0] == "o":
        values[1] = onnx.ValueInfoProto(name="o")
    graph = helper.make_graph(nodes, "operands", values[:1], values[1:], weights)
    opset = max(OPSET, *(_since(node.op_type) for node in nodes))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@cache
def _since(op: str) -> int:
    """The opset that an operator came with."""
    known = onnx.defs.get_all_schemas_with_history()
    return min((schema.since_version for schema in known if schema.name == op and not schema.domain), default=1)


def _schema(operator: str) -> onnx.defs.OpSchema:
    return onnx.defs.get_schema(operator, max(OPSET, _since(operator)))


def _possible(operator: str, types: Mapping[int, np.dtype | None]) -> bool:
    """Whether the operands, by their positions, may have these types, or be left out (None)."""
    if "::" in operator:
        return all(dtype == np.float32 or (dtype is None and slot > 0) for slot, dtype in types.items())
    inputs = _schema(operator).inputs
    variables: dict[str, np.dtype] = {}
    for slot, dtype in types.items():
        operand = inputs[min(slot, len(inputs) - 1)]
        if dtype is None:
            if operand.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
                return False
        elif (
            f"tensor({_NAMES[dtype.name]})" not in operand.types
            or variables.setdefault(operand.type_str, dtype) != dtype
        ):
            return False
    return True


_NAMES = {"float32": "float", "int64": "int64", "uint8": "uint8", "bool": "bool"}


def _arities(operator: str) -> Iterable[int]:
    if "::" in operator:
        return range(1, 4)
    schema = _schema(operator)
    most = 2 if schema.max_input > 9 else schema.max_input
    return range(max(schema.min_input, min(most, 2)), most + 1)


def cases(operator: str) -> Iterator[Case]:
    """Every choice of one or two positions for the descriptor, with combinations of constants."""
    for batch, layouts in LAYOUTS.items():
        for layout, (slots, constants) in itertools.product(layouts, WHOLE.get(operator, ())):
            yield Case(operator, batch, layout, True, slots, constants)
        if operator in PARTS:
            yield from (Case(operator, batch, layout, False, (0,), PARTS[operator]) for layout in layouts)
    if operator in WHOLE or operator == "Split":
        return
    for arity, (batch, layouts), quantised in itertools.product(_arities(operator), LAYOUTS.items(), (False, True)):
        for many, layout in itertools.product((1, 2), layouts):
            for slots in itertools.combinations(range(arity), many):
                left = [slot for slot in range(arity) if slot not in slots]
                for constants in _combinations(len(left), (*CONSTANTS, *FURTHER.get(operator, ()))):
                    if constants and constants[-1] is None and left[-1] == arity - 1:
                        continue  # an operator of fewer operands; onnxruntime 1.31 crashes on some that are spelled so
                    types = dict.fromkeys(slots, np.dtype(np.uint8 if quantised else np.float32))
                    types |= {
                        slot: None if one is None else one.dtype for slot, one in zip(left, constants, strict=True)
                    }
                    if _possible(operator, types):
                        yield Case(operator, batch, layout, quantised, slots, constants)


def _combinations(many: int, constants: tuple) -> Iterable[tuple[np.ndarray | None, ...]]:
    """All of them, where they are few; else one constant for all positions."""
    if many <= 2:
        return itertools.product(constants, repeat=many)
    return ((constant,) * many for constant in constants)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.slow
def test_an_operand_in_any_position_is_refused_or_converted_rightly(operator):
    valid = [(case, shape) for case in cases(operator) if (shape := case.alone()) is not None]
    assert valid, "give the attributes that it cannot be without"
    converted = set()
    for case, shape in valid:
        model = case.model(shape)
        try:
            onnx.checker.check_model(model, full_check=True)
            session(model)
        except Exception:
            continue  # the result does not scale the map
        found = tse_onnx.find_blocks(model, kinds=set(KINDS))
        blocks = [block for block in found if block.input == "h"]  # an operator that pools opens another
        assert [block.status for block in blocks] in (["convertible"], ["refused"])
        assert all(block.reason for block in blocks if block.refusal)
        if blocks[0].refusal:
            continue
        converted.add(case.slots)
        result = tse_onnx.convert(model, rows=4, kinds=set(KINDS))
        onnx.checker.check_model(result.model, full_check=True)
        assert result.verification.passed
    assert bool(converted) == (operator not in TOGETHER)
