"""The numbers that exchanged scales come to, and the way back to those that they were, to the bit.

A number w becomes w f rounded, and (w f) / f rounded is w again or a few steps from it. The model remembers the scales,
and of each number how many steps it has to go; with powers of two none has.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from tse_onnx.errors import ModelError
from tse_onnx.passes.edit.record import packed, unpacked
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.equalisation.places import Place
from tse_onnx.passes.equalisation.scales import Equalised
from tse_onnx.passes.graph.index import NUMBERS, GraphIndex, holds_numbers

EQUALISED = "tse_onnx.equalised"
"""The key of the entry of a model's metadata in which it remembers its scales."""

_FORMAT = 1
_STEPS = {4: np.int32, 8: np.int64}
_DAMAGED = "what the model's metadata remember of the scales that were exchanged is damaged"
_SPARSE = 16


@dataclass(frozen=True)
class _Scaled:
    """An initializer: the pairs that scale it, where, the digest of its numbers, and of those that they were."""

    name: str
    pairs: tuple[int, ...]
    places: tuple[Place, ...]
    digest: str
    original: str


def edit_of(index: GraphIndex, changed: Sequence[Equalised]) -> Edit:
    """The initializers that hold other numbers."""
    return Edit(
        {},
        numbers={
            scaled: _with_numbers(index.initializers[scaled], _times(index.initializers[scaled], found, changed))
            for scaled, found in _places(changed).items()
        },
    )


def remember_scales(model: ModelProto, index: GraphIndex, edit: Edit, changed: Sequence[Equalised]) -> None:
    """Note in the metadata of a model what it takes to have its numbers back; `index` is that of the original."""
    kept, told = GraphProto(), []
    for number, one in enumerate(changed):
        kept.initializer.append(numpy_helper.from_array(one.scales, f"scales {number}"))
    for name, found in _places(changed).items():
        old, new = index.initializers[name], edit.numbers[name]
        back = _over(new, found, [one.scales for one in changed])
        numbers = numpy_helper.to_array(old)
        kept.initializer.extend(_steps(name, _bits(numbers) - _bits(back)))
        pairs, places = zip(*found, strict=True)
        told.append(asdict(_Scaled(name, pairs, places, _digest(new), _digest(old))))
    kept.doc_string = json.dumps({"format": _FORMAT, "tensors": told}, separators=(",", ":"))
    forget_scales(model)
    model.metadata_props.add(key=EQUALISED, value=packed(kept.SerializeToString(deterministic=True)))


def has_scales(model: ModelProto) -> bool:
    """Whether a model remembers that scales were exchanged in it."""
    return any(entry.key == EQUALISED for entry in model.metadata_props)


def forget_scales(model: ModelProto) -> None:
    """Remove that memory."""
    for place in reversed([place for place, entry in enumerate(model.metadata_props) if entry.key == EQUALISED]):
        del model.metadata_props[place]


def unscaled(model: ModelProto) -> ModelProto | None:
    """A copy of a model with the numbers that it had before scales were exchanged, and no memory of it; None where
    some of them were changed since, or are not there any more.

    Raises `ModelError` where the memory cannot be read.
    """
    kept, told = _read(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    if any(one.name not in tensors or _digest(tensors[one.name]) != one.digest for one in told):
        return None
    parts = {tensor.name: numpy_helper.to_array(tensor) for tensor in kept.initializer}
    numbers = dict[str, TensorProto]()
    try:
        for one in told:
            found = list(zip(one.pairs, one.places, strict=True))
            scales = {number: parts[f"scales {number}"] for number in one.pairs}
            back = _over(tensors[one.name], found, scales)
            bits = _bits(back).reshape(-1).copy()
            steps = parts.get(f"steps {one.name}")
            if steps is not None:
                where = parts.get(f"where {one.name}", np.arange(bits.size))
                bits[where] += steps.astype(bits.dtype)
            numbers[one.name] = _with_numbers(tensors[one.name], bits.view(back.dtype).reshape(back.shape))
            if _digest(numbers[one.name]) != one.original:
                raise ValueError("other numbers")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ModelError(_DAMAGED) from error
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in numbers:
            tensor.CopyFrom(numbers[tensor.name])
    forget_scales(made)
    return made


def _read(model: ModelProto) -> tuple[GraphProto, tuple[_Scaled, ...]]:
    kept = GraphProto()
    try:
        for entry in model.metadata_props:
            if entry.key == EQUALISED:
                kept = GraphProto.FromString(unpacked(entry.value))
        parts: dict[str, Any] = json.loads(kept.doc_string)
        if parts["format"] != _FORMAT:
            raise ModelError("scales were exchanged by a version of tse-onnx that this one does not know")
        return kept, tuple(
            _Scaled(
                str(one["name"]), tuple(one["pairs"]), tuple(Place(**place) for place in one["places"]),
                str(one["digest"]), str(one["original"]),
            )
            for one in parts["tensors"]
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, zlib.error, DecodeError, RecursionError) as error:
        raise ModelError(_DAMAGED) from error


def _places(changed: Sequence[Equalised]) -> dict[str, list[tuple[int, Place]]]:
    """The initializers that are scaled, each with the numbers of the pairs that do it, and where in it."""
    found: dict[str, list[tuple[int, Place]]] = {}
    for number, one in enumerate(changed):
        for place in one.pair.places:
            found.setdefault(place.tensor, []).append((number, place))
    return found


_Found = Sequence[tuple[int, Place]]


def _times(tensor: TensorProto, found: _Found, changed: Sequence[Equalised]) -> np.ndarray:
    numbers = numpy_helper.to_array(tensor)
    by = _factor(found, [one.scales for one in changed], numbers.shape)
    return np.asarray((numbers.astype(np.float64) * by).astype(numbers.dtype))


def _over(tensor: TensorProto, found: _Found, scales: Sequence[np.ndarray] | Mapping[int, np.ndarray]) -> np.ndarray:
    numbers = numpy_helper.to_array(tensor)
    with np.errstate(all="ignore"):
        return np.asarray((numbers.astype(np.float64) / _factor(found, scales, numbers.shape)).astype(numbers.dtype))


def _factor(
    found: _Found, scales: Sequence[np.ndarray] | Mapping[int, np.ndarray], dims: tuple[int, ...]
) -> np.ndarray:
    """What numbers of `dims` are multiplied by, in double precision."""
    by = np.ones((1,) * len(dims))
    for number, place in found:
        by = by * np.broadcast_to(place.spread(scales[number], dims), dims)
    return by


def _bits(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(_STEPS[numbers.dtype.itemsize])


def _steps(name: str, steps: np.ndarray) -> list[TensorProto]:
    """The steps of a tensor's numbers in the smallest type; where few have any, with their places."""
    steps = steps.reshape(-1)
    moved = np.flatnonzero(steps)
    if not moved.size:
        return []
    kind = np.min_scalar_type(-int(np.abs(steps[moved]).max()) - 1)
    if _SPARSE * moved.size >= steps.size:
        return [numpy_helper.from_array(steps.astype(kind), f"steps {name}")]
    where = moved.astype(np.min_scalar_type(steps.size))
    return [
        numpy_helper.from_array(steps[moved].astype(kind), f"steps {name}"),
        numpy_helper.from_array(where, f"where {name}"),
    ]


def _with_numbers(tensor: TensorProto, numbers: np.ndarray) -> TensorProto:
    """A tensor with other numbers, in the field in which it has its own."""
    made = TensorProto()
    made.CopyFrom(tensor)
    field = next((field for field in NUMBERS if getattr(tensor, field)), None)
    if field is None:
        made.raw_data = numpy_helper.from_array(np.ascontiguousarray(numbers)).raw_data
    else:
        made.ClearField(field)
        getattr(made, field).extend(numbers.reshape(-1).tolist())
    return made


def _digest(tensor: TensorProto) -> str:
    if not holds_numbers(tensor):
        return ""
    state = hashlib.sha256(f"{tensor.data_type}|{list(tensor.dims)}|".encode())
    state.update(np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes())
    return state.hexdigest()[:32]
