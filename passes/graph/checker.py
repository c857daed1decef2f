"""What onnx's checker says of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx
from onnx import ModelProto

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.guard import refuse_negative
from tse_onnx.passes.graph.order import sort_nodes
from tse_onnx.passes.graph.types import (
    Dim,
    TensorType,
    bind_inputs,
    inferable,
    inferred,
    tensor_types,
    value_info,
    weightless,
)
from tse_onnx.passes.reasons import first_line, printable

# Before the first of several complaints that onnx lists in one error, each on a line of its own.
_SEVERAL = "[ShapeInferenceError] Inference error(s): "


def has_sound_sizes(model: ModelProto) -> bool:
    """Whether onnx infers no negative size anywhere in a model."""
    bare = weightless(model)
    sort_nodes(bare.graph)
    try:
        refuse_negative(inferred(bare).graph)
    except ModelError:
        return False
    return True


def complaint(
    model: ModelProto, types: Mapping[str, TensorType] | None = None, trusted: Collection[str] = ()
) -> str | None:
    """What onnx's checker says against a model, its stated shapes included, or None.

    It wants a shape for every output; those without get theirs from `types`. `trusted` are values whose sizes are known
    to be sound.
    """
    error = _checked(weightless(model), types or {}, trusted)
    return None if error is None else first_line(error)


@dataclass(frozen=True)
class Standard:
    """What onnx's checker says of an original, and so may say of what is made from it; `own` is the first line.

    It compares what a model states of its values with what onnx infers, and goes on from what is stated: a false type
    hides some faults and makes others up. So both models are looked at without the types that they both state, and with
    the outputs that onnx infers for the original.
    """

    own: str
    _lines: frozenset[str]
    _bound: Mapping[str, tuple[Dim, ...]]
    _stated: frozenset[str]
    _outputs: Mapping[str, TensorType]

    @classmethod
    def of(cls, original: ModelProto, bound: Mapping[str, tuple[Dim, ...]]) -> Standard | None:
        """The standard of an original with its inputs `bound`; None where the checker has nothing against it."""
        bare = weightless(original)
        bind_inputs(bare.graph, bound)
        error = _checked(bare, {}, ())
        if error is None:
            return None
        stated = frozenset(value.name for value in original.graph.value_info)
        plain = unstated(original, bound, stated)
        sort_nodes(plain.graph)
        try:
            outputs = tensor_types(inferred(plain).graph.output)
        except ModelError:
            outputs = {}
        return cls(first_line(error), _lines(_checked(plain, outputs, ())), bound, stated, outputs)

    def breach(self, converted: ModelProto, changed: Collection[str], trusted: Collection[str] = ()) -> str | None:
        """What the checker says against `converted` that it does not say against the original; None where that is
        nothing. `changed` are the values whose types the conversion states anew."""
        plain = unstated(converted, self._bound, self._stated.difference(changed))
        return min(_lines(_checked(plain, self._outputs, trusted)) - self._lines, default=None)


def unstated(
    model: ModelProto, bound: Mapping[str, tuple[Dim, ...]], names: Collection[str] | None = None
) -> ModelProto:
    """The weightless model without the types that it states for these values, or for all of them, and without the
    shapes of its outputs."""
    bare = weightless(model)
    bind_inputs(bare.graph, bound)
    kept = [value for value in bare.graph.value_info if names is not None and value.name not in names]
    stripped = ModelProto()
    stripped.CopyFrom(bare)
    del stripped.graph.value_info[:]
    stripped.graph.value_info.extend(kept)
    for output in stripped.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return stripped


def _lines(error: Exception | None) -> frozenset[str]:
    if error is None:
        return frozenset()
    return frozenset(
        printable(line.strip()) for line in str(error).replace(_SEVERAL, "\n").splitlines() if line.strip()
    )


def _checked(bare: ModelProto, types: Mapping[str, TensorType], trusted: Collection[str]) -> Exception | None:
    """What onnx's checker raises for a weightless model."""
    try:
        for output in bare.graph.output:
            if output.name in types and not output.type.tensor_type.HasField("shape"):
                output.CopyFrom(value_info(output.name, types[output.name]))
        sort_nodes(bare.graph)  # the order of nodes is the input's own affair, and runtimes do not need it
        onnx.checker.check_model(bare, full_check=inferable(bare, trusted))
    except Exception as error:
        return error
    return None
