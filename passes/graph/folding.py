"""What a graph computes from constants and from the sizes of tensors, worked out when it is asked for.

Nothing is changed: the nodes stay, and a reader knows their numbers. Sizes that are not known are carried along by
name, so that what is made of others beside them is known, and a size is seen to be that of another tensor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from tse_onnx.passes.graph.index import Folding as _Folding
from tse_onnx.passes.graph.index import GraphIndex, attribute, int_attribute, ints_attribute, takes_references
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types

# What steers a shape is short; results between may be longer, and chains of nodes as long as this.
_SHORT, _LONGEST, _DEEPEST = 64, 256, 100
# A product of more sizes, or of a larger number with them, is no size of a tensor.
_MOST_NAMES, _LARGEST = 16, 2**63


@dataclass(frozen=True)
class Size:
    """A whole number that is not known: `times` the product of the sizes that are called so; None where nothing is
    known of it."""

    names: tuple[str, ...] | None
    times: int = 1


@dataclass(frozen=True)
class Over(Size):
    """A number that is not whole: `number` over a size that is not known."""

    number: float = 1.0


_UNKNOWN = Size(None)
Known = np.ndarray
"""Numbers and `Size`s, as objects."""


class _Open(Exception):
    """A node cannot be worked out."""


class Folding:
    """The numbers of one graph's computed sizes."""

    def __init__(self, index: GraphIndex, types: Types, outer: _Folding | None = None) -> None:
        self._index, self._types, self._outer = index, types, outer
        self._known: dict[str, Known | None] = {}

    def numbers(self, value: str) -> np.ndarray | None:
        """The numbers of a short value that depends on constants and known sizes alone; None where it does not."""
        found = self.sizes(value)
        if found is None or any(isinstance(number, Size) for number in found.flat):
            return None
        return np.array(found.tolist()) if found.size else None

    def sizes(self, value: str) -> Known | None:
        """The same, with a `Size` for each number that is not known."""
        if not self._index.is_size(value):
            return None
        found = self._value(value, 0)
        return found if found is not None and found.size <= _SHORT else None

    def _value(self, value: str, depth: int) -> Known | None:
        if value not in self._known:
            self._known[value] = None  # ends cycles
            self._known[value] = self._worked_out(value, depth)
        return self._known[value]

    def _worked_out(self, value: str, depth: int) -> Known | None:
        constant = self._index.stored(value, _LONGEST)
        if constant is not None:
            return _objects(constant)
        position = self._index.producer(value)
        if position is None:
            return self._outer.sizes(value) if self._outer is not None else None
        node = self._index.nodes[position]
        rule = _RULES.of(node)
        if depth > _DEEPEST or len(node.output) != 1 or takes_references(node):
            return None
        if node.op_type in ("Shape", "Size"):
            return self._shape(node)
        if rule is None:
            return None
        given = [self._value(name, depth + 1) if name else None for name in node.input]
        if any(name and known is None for name, known in zip(node.input, given, strict=True)):
            return None
        try:
            with np.errstate(all="ignore"):  # numbers that overflow do so in a runtime, too
                made = rule(node, given)
        except (_Open, ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError, AttributeError):
            return None  # what no runtime computes either tells no size
        return made if made.size <= _LONGEST else None

    def _shape(self, node: NodeProto) -> Known | None:
        source = node.input[0]
        dims = self._types[source].dims
        if dims is None:
            return None
        sizes = [
            np.int64(dim) if isinstance(dim, int) else Size((name_of(source, axis, dim),))
            for axis, dim in enumerate(dims)
        ]
        if node.op_type == "Size":
            return _filled((), [reduce(_times, sizes, np.int64(1))])
        start, end = int_attribute(node, "start", 0), int_attribute(node, "end", len(sizes))
        return _filled(None, sizes[start:end])


def _filled(shape: tuple[int, ...] | None, values: Sequence[Any]) -> Known:
    made = np.empty(len(values), object)
    made[:] = values
    return made if shape is None else made.reshape(shape)


def _objects(array: np.ndarray) -> Known:
    """Each number with its own type, so that arithmetic rounds as a runtime's does."""
    return _filled(array.shape, list(array.reshape(-1)))


def _whole(known: Known | None) -> list[int]:
    if known is None or any(isinstance(number, Size) for number in known.flat):
        raise _Open
    return [int(number) for number in known.reshape(-1)]


_Rule = Callable[[NodeProto, "Sequence[Known | None]"], Known]


def _each(function: Callable[..., Any]) -> _Rule:
    """A function of numbers, which knows nothing where it knows not all of them."""

    def one(*numbers: Any) -> Any:
        return _UNKNOWN if any(isinstance(number, Size) for number in numbers) else function(*numbers)

    def rule(node: NodeProto, given: Sequence[Known | None]) -> Known:
        return np.asarray(np.frompyfunc(one, len(given), 1)(*given), object)

    return rule


def _times(one: Any, other: Any) -> Any:
    if not isinstance(one, Size) and not isinstance(other, Size):
        return one * other
    if isinstance(one, Over) or isinstance(other, Over):
        return _UNKNOWN
    if isinstance(one, Size) and isinstance(other, Size):
        if one.names is None or other.names is None:
            return _UNKNOWN
        return _product_of(one.names + other.names, one.times * other.times)
    size, number = (one, other) if isinstance(one, Size) else (other, one)
    if size.names is None or number != int(number) or not number:
        return _UNKNOWN
    return _product_of(size.names, size.times * int(number))


def _product_of(names: tuple[str, ...], times: int) -> Size:
    return Size(tuple(sorted(names)), times) if len(names) <= _MOST_NAMES and abs(times) < _LARGEST else _UNKNOWN


def _multiply(node: NodeProto, given: Sequence[Known | None]) -> Known:
    return np.asarray(np.frompyfunc(_times, 2, 1)(*given), object)


def _divide(one: Any, other: Any) -> Any:
    if isinstance(one, np.integer | int) and isinstance(other, np.integer | int):
        quotient = abs(int(one)) // abs(int(other))
        return np.int64(quotient if (one < 0) == (other < 0) else -quotient)
    return one / other


def _over(one: Any, other: Any) -> Any:
    """A quotient of sizes in which what is divided by is left of nothing, or a number over a size."""
    if not isinstance(one, Size) and not isinstance(other, Size):
        return _divide(one, other)
    if isinstance(one, Over) or isinstance(other, Over):
        return _UNKNOWN
    if not isinstance(one, Size):
        open_ = other.names is None or not other.times or not isinstance(one, float | np.floating)
        return _UNKNOWN if open_ else Over(other.names, other.times, float(one))
    names, times = (other.names, other.times) if isinstance(other, Size) else ((), other)
    if one.names is None or names is None or not times or one.times % times:
        return _UNKNOWN
    left = Counter(one.names)
    left.subtract(names)
    if any(count < 0 for count in left.values()):
        return _UNKNOWN
    return Size(tuple(sorted(left.elements())), int(one.times // times))


def _quotient(node: NodeProto, given: Sequence[Known | None]) -> Known:
    return np.asarray(np.frompyfunc(_over, 2, 1)(*given), object)


def _reciprocal(node: NodeProto, given: Sequence[Known | None]) -> Known:
    def one(number: Any) -> Any:
        return _over(1.0, number) if isinstance(number, Size) else type(number)(1) / number

    return np.asarray(np.frompyfunc(one, 1, 1)(given[0]), object)


def _cast(node: NodeProto, given: Sequence[Known | None]) -> Known:
    kind = onnx.helper.tensor_dtype_to_np_dtype(int_attribute(node, "to", 0)).type
    whole = np.issubdtype(kind, np.integer)

    def one(number: Any) -> Any:
        if isinstance(number, Over):
            return _UNKNOWN if whole else number
        if isinstance(number, Size):  # a size is one in any type that holds it
            return number
        return kind(int(number) if whole else number)

    return np.asarray(np.frompyfunc(one, 1, 1)(given[0]), object)


def _where(node: NodeProto, given: Sequence[Known | None]) -> Known:
    def one(condition: Any, yes: Any, no: Any) -> Any:
        if isinstance(condition, Size):
            return yes if yes == no else _UNKNOWN
        return yes if condition else no

    return np.asarray(np.frompyfunc(one, 3, 1)(*given), object)


def _equal(one: Any, other: Any) -> Any:
    """A size is no negative number, whatever it is: so graphs tell a −1 in the target of an Expand."""
    if not isinstance(one, Size) and not isinstance(other, Size):
        return bool(one == other)
    size, number = (one, other) if isinstance(one, Size) else (other, one)
    known = size.names is not None and not isinstance(size, Over)
    positive = not isinstance(number, Size) and number < 0 and known and size.times > 0
    return False if positive else _UNKNOWN


def _equals(node: NodeProto, given: Sequence[Known | None]) -> Known:
    return np.asarray(np.frompyfunc(_equal, 2, 1)(*given), object)


def _axes(node: NodeProto, given: Sequence[Known | None]) -> list[int] | None:
    if len(given) > 1 and given[1] is not None:
        return _whole(given[1])
    listed = ints_attribute(node, "axes")
    return None if listed is None else list(listed)


def _data(given: Sequence[Known | None]) -> Known:
    if not given or given[0] is None:
        raise _Open
    return given[0]


def _reshape(node: NodeProto, given: Sequence[Known | None]) -> Known:
    data, target = _data(given), _whole(given[1])
    if int_attribute(node, "allowzero", 0):
        raise _Open
    return data.reshape([data.shape[axis] if size == 0 else size for axis, size in enumerate(target)])


def _squeeze(node: NodeProto, given: Sequence[Known | None]) -> Known:
    axes = _axes(node, given)
    return np.squeeze(_data(given), None if axes is None else tuple(axes))


def _unsqueeze(node: NodeProto, given: Sequence[Known | None]) -> Known:
    return np.expand_dims(_data(given), tuple(_axes(node, given) or ()))


def _concat(node: NodeProto, given: Sequence[Known | None]) -> Known:
    return np.concatenate([part for part in given if part is not None], int_attribute(node, "axis", 0))


def _gather(node: NodeProto, given: Sequence[Known | None]) -> Known:
    data, places = _data(given), given[1]
    shape = places.shape if places is not None else ()
    found = np.take(data, np.array(_whole(places), np.int64).reshape(shape), int_attribute(node, "axis", 0))
    return found if isinstance(found, np.ndarray) else _filled((), [found])


def _slice(node: NodeProto, given: Sequence[Known | None]) -> Known:
    data = _data(given)
    if len(given) > 1:
        starts, ends = _whole(given[1]), _whole(given[2])
        axes = _whole(given[3]) if len(given) > 3 and given[3] is not None else list(range(len(starts)))
        steps = _whole(given[4]) if len(given) > 4 and given[4] is not None else [1] * len(starts)
    else:
        starts, ends = list(ints_attribute(node, "starts") or ()), list(ints_attribute(node, "ends") or ())
        axes, steps = list(ints_attribute(node, "axes") or range(len(starts))), [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise _Open
        cut[axis] = slice(start, end, step)
    return data[tuple(cut)]


def _expand(node: NodeProto, given: Sequence[Known | None]) -> Known:
    data, target = _data(given), tuple(_whole(given[1]))
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, target))


def _constant_of_shape(node: NodeProto, given: Sequence[Known | None]) -> Known:
    shape, value = _whole(_data(given)), attribute(node, "value")
    number = np.float32(0) if value is None else onnx.numpy_helper.to_array(value.t).reshape(-1)[0]
    if math.prod(shape) > _LONGEST:
        raise _Open
    return _filled(tuple(shape), [number] * math.prod(shape))


def _range(node: NodeProto, given: Sequence[Known | None]) -> Known:
    start, limit, step = (_whole(part)[0] for part in given)
    if len(range(start, limit, step)) > _LONGEST:
        raise _Open
    return _filled(None, [np.int64(number) for number in range(start, limit, step)])


def _product(node: NodeProto, given: Sequence[Known | None]) -> Known:
    """Of a list, as `ReduceProd` of a shape is."""
    data = _data(given)
    if data.ndim != 1 or _axes(node, given) not in (None, [0], [-1]):
        raise _Open
    made: Any = np.int64(1)
    for number in data:
        made = _times(made, number)
    return _filled((1,) if int_attribute(node, "keepdims", 1) else (), [made])


_RULES: Rules[_Rule] = Rules(
    {
        "Identity": lambda node, given: _data(given),
        "Cast": _cast,
        "Add": _each(lambda one, other: one + other),
        "Sub": _each(lambda one, other: one - other),
        "Mul": _multiply,
        "Div": _quotient,
        "Neg": _each(lambda number: -number),
        "Abs": _each(abs),
        "Min": _each(min),
        "Max": _each(max),
        "Floor": _each(np.floor),
        "Ceil": _each(np.ceil),
        "Sqrt": _each(np.sqrt),
        "Reciprocal": _reciprocal,
        "Not": _each(lambda flag: not flag),
        "Less": _each(lambda one, other: bool(one < other)),
        "Greater": _each(lambda one, other: bool(one > other)),
        "Equal": _equals,
        "Where": _where,
        "Reshape": _reshape,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Concat": _concat,
        "Gather": _gather,
        "Slice": _slice,
        "Expand": _expand,
        "ConstantOfShape": _constant_of_shape,
        "Range": _range,
        "ReduceProd": _product,
        "Transpose": lambda node, given: np.transpose(_data(given), ints_attribute(node, "perm")),
    }
)


def name_of(value: str, axis: int, dim: str | None) -> str:
    """What the size of an axis is called: the model's name for it, or where it stands, as no model may call one."""
    return dim or f"\0{value}[{axis}]"
