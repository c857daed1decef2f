"""Read a model once: its index, its types, its blocks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tse_onnx.decision.inputs import InputShapes, bind, fed_inputs, types_of
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.source import Source
from tse_onnx.passes.blocks.block import KINDS, Pooling, Refused, Tiled
from tse_onnx.passes.edit.memory import remembered
from tse_onnx.passes.edit.record import Memory
from tse_onnx.passes.edit.splice import Change
from tse_onnx.passes.graph.checker import has_sound_sizes
from tse_onnx.passes.graph.scope import Scope, scopes
from tse_onnx.passes.graph.types import Inference, TensorType, tensor_type
from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.passes.search.match import DEFAULT_KINDS, find
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A scope of the model and what was found in it."""

    scope: Scope
    blocks: tuple[Pooling, ...]


@dataclass(frozen=True)
class Analysis:
    """A model with everything that was found out about it; `bound` are the input shapes that the user gave."""

    source: Source
    parts: tuple[Part, ...]
    bound: InputShapes
    inference: Inference = field(repr=False)

    @property
    def blocks(self) -> tuple[Pooling, ...]:
        """The blocks of all parts, the main graph's first."""
        return tuple(block for part in self.parts for block in part.blocks)

    @property
    def main(self) -> Scope:
        """The main graph."""
        return self.parts[0].scope


def analyse(
    source: Source, input_shapes: InputShapes | None = None, kinds: Collection[str] = DEFAULT_KINDS
) -> Analysis:
    """Find the blocks of a model, with its inputs bound to `input_shapes` (dimensions by input name; "" for the only
    input); `kinds` is "all", or the kinds to look for.

    Raises `ModelError` for a graph with a cycle, `UsageError` for a shape that fits no input or an unknown kind.
    """
    if isinstance(kinds, str):
        kinds = KINDS.keys() if kinds == "all" else {kinds}
    if unknown := sorted(set(kinds) - KINDS.keys()):
        raise UsageError(f"there is no kind {quoted(unknown[0])}; the kinds are {', '.join(KINDS)}")
    bound = bind(source, input_shapes or {})
    taken: set[str] = set()
    with phase(_log, "indexing and inferring types"):
        inference = Inference(source.model, bound, evaluate)
        found = scopes(source.model, bound, inference)
    with phase(_log, "matching"):
        memory = _memory(source)
        parts = tuple(Part(scope, find(scope, kinds, taken, memory)) for scope in found)
    analysis = Analysis(source, parts, bound, inference)
    _log_found(analysis)
    return analysis


def trusted_values(analysis: Analysis, changes: Iterable[Change]) -> frozenset[str]:
    """The new values of changes, whose sizes are sound where those of the original are: they are cut and spread to the
    sizes of its maps. None where they are not, or a size of the original is not known to be."""
    bound = analysis.bound
    if not (has_sound_sizes(analysis.source.model) if bound else analysis.inference.is_sound):
        return frozenset()
    indexes = {part.scope.path: part.scope.index for part in analysis.parts}
    return frozenset(
        name
        for change in changes
        for edit in change.edits
        for nodes in edit.nodes.values()
        for node in nodes
        for name in node.output
        if name and indexes[change.path].producer(name) is None
    )


def _memory(source: Source) -> Memory:
    try:
        return remembered(source.model)
    except ModelError:  # damaged: what nodes remember is left
        return {}


def _log_found(analysis: Analysis) -> None:
    blocks = analysis.blocks
    refused = sum(isinstance(block, Refused) for block in blocks)
    _log.info("%d blocks and %d other poolings in %d graphs", len(blocks) - refused, refused, len(analysis.parts))
    if not _log.isEnabledFor(logging.DEBUG):
        return
    for block in blocks:
        if isinstance(block, Refused):
            _log.debug("%s is no block (%s): %s", quoted(block.name), block.refusal.code, block.refusal.text)
        else:
            _log.debug("%s is a block of kind %s on %s %s", quoted(block.name), block.kind, quoted(block.input),
                       printable(str(block.shape)))  # fmt: skip


def need_sizes(analysis: Analysis) -> None:
    """Raise `ModelError`, with the option to use, where a block's height or width depends on a dynamic input."""
    unknown = min(filter(_unsized, analysis.blocks), key=lambda block: isinstance(block, Refused), default=None)
    if unknown is None:
        return
    for value in fed_inputs(analysis.source):
        dims = analysis.bound.get(value.name) or tensor_type(value.type.tensor_type).dims
        if dims is None:
            raise ModelError(
                f"the size of what {quoted(unknown.name)} pools is not known: input {quoted(value.name)} has no shape; "
                f"bind it, for example {setting('input_shapes', {value.name: (1, 3, 224, 224)})}"
            )
        if not isinstance(unknown, Refused) and any(not isinstance(dim, int) for dim in dims[1:]):
            usual = (1, 3, *(224,) * len(dims))
            sizes = tuple(dim if isinstance(dim, int) else size for dim, size in zip(dims, usual, strict=False))
            shown = ", ".join("?" if dim is None else str(dim) for dim in dims)
            raise ModelError(
                f"the height and width of block {quoted(unknown.name)} are not known: input {quoted(value.name)} is "
                f"[{printable(shown)}]; bind it, for example {setting('input_shapes', {value.name: sizes})}"
            )


def _unsized(block: Pooling) -> bool:
    """Whether the size is all that may be missing: the block is none, or one that was refused for its shape."""
    if isinstance(block, Refused):
        return block.refusal.code == "shape"
    return not isinstance(block, Tiled) and (not block.extents or None in block.extents)


def input_types(analysis: Analysis) -> dict[str, TensorType]:
    """Types of the inputs that a caller feeds, as bound."""
    return types_of(analysis.source, analysis.bound)
