"""Data folding: strides exchanged for a space-to-depth in front of a convolution, and back."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto, TensorProto, numpy_helper

from tse_onnx.decision.inputs import InputShapes, bind
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.encode import encoded
from tse_onnx.files.external import check_locations, loaded
from tse_onnx.files.outputs import file_path
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.passes.data_folding import fold as passes
from tse_onnx.passes.data_folding.fold import Folded, Left
from tse_onnx.passes.edit.splice import splice
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.names import name_of
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.shown import Shown
from tse_onnx.streaming.depths.total import held_at_least
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of
from tse_onnx.timing import phase

if TYPE_CHECKING:
    import numpy as np

    from tse_onnx.streaming.depths.held import Held
    from tse_onnx.verification.folding import FoldCheck

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """What a network holds while its input streams in row by row: bytes in all, and rows by the name of a tensor."""

    bytes: int
    by_tensor: dict[str, int] = field(repr=False)


@dataclass(frozen=True, repr=False)
class FoldResult(Shown):
    """A model with convolutions folded, or with `back` unfolded; `title` is what the model that was given is called.

    `changed` are these and `left` those that stay, each with the reason; `checks` have how far each is from the
    original's (none where nothing was run). `before` and `after` are the rows held on the ideal machine, None where the
    network cannot be read so, for the reason in `unread`. `path` is the file written, if any.
    """

    model: ModelProto = field(repr=False)
    changed: tuple[Folded, ...]
    left: tuple[Left, ...]
    checks: tuple[FoldCheck, ...]
    before: Rows | None
    after: Rows | None
    unread: str
    path: Path | None
    title: str
    back: bool
    _bytes: bytes | None = field(default=None, repr=False)

    def serialized(self) -> bytes:
        """The bytes of the model: the input's own where nothing was changed."""
        return b"".join(encoded(self.model)) if self._bytes is None else self._bytes


def fold(
    model: ModelLike,
    out: str | os.PathLike[str] | None = None,
    *,
    factor: int | None = None,
    nodes: Collection[str] = (),
    input_shapes: InputShapes | None = None,
    verify: bool = True,
) -> FoldResult:
    """Every convolution of `model` with a stride as one with less of it on a map folded by a `factor` (pixels become
    channels), by all that its strides have in common if None.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed; its local functions and the bodies of
    its control flow stay as they are. The same products are added, in another order, and products with zero. `nodes`
    are the convolutions asked for, by name or by output; all if empty. `input_shapes` gives inputs with dynamic
    dimensions a size. Each is compared with the original's before anything is written to `out`, unless `verify` is off.

    Raises `UsageError` for a factor under 2 or a node that there is not, `ModelError` where a node that was asked for
    cannot be folded, `CheckFailed` where the comparison fails.
    """
    return _done(model, out, False, factor, nodes, input_shapes, verify)


def unfold(
    model: ModelLike,
    out: str | os.PathLike[str] | None = None,
    *,
    factor: int | None = None,
    nodes: Collection[str] = (),
    input_shapes: InputShapes | None = None,
    verify: bool = True,
) -> FoldResult:
    """The way back, and what is done to a network that was trained on folded data: every convolution on a map folded by
    a SpaceToDepth, or by Reshape, Transpose and Reshape, as one with a stride on the map itself. With a `factor`, those
    alone that are folded by it. Otherwise as `fold`."""
    return _done(model, out, True, factor, nodes, input_shapes, verify)


def _done(
    model: ModelLike,
    out: str | os.PathLike[str] | None,
    back: bool,
    factor: int | None,
    nodes: Collection[str],
    input_shapes: InputShapes | None,
    verify: bool,
) -> FoldResult:
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int) or factor < 2):
        raise UsageError(f"a map is folded by a factor of 2 or more, not by {factor!r}")
    source = open_model(model)
    target = None if out is None else file_path(out)
    if target is not None or source.folder is not None:
        check_locations(source.model, source.folder)
    bound = bind(source, input_shapes or {})
    nodes = {nodes} if isinstance(nodes, str) else set(nodes)
    scope = scopes(source.model, bound, evaluate)[0]
    there = {name_of(node) for node in scope.index.nodes if node.op_type == "Conv"}
    if unknown := sorted(nodes - there):
        raise UsageError(f"the model's main graph has no Conv {quoted(unknown[0])}")
    with phase(_log, "unfolding" if back else "folding"):
        found = (passes.unfold if back else passes.fold)(
            scope, taken_names(source.model), factor, nodes, _reader(source)
        )
    if nodes and found.left:
        raise ModelError(f"{quoted(found.left[0].name)} stays as it is: {found.left[0].reason}")
    made, checks = source.model, tuple["FoldCheck", ...]()
    if found.changed:
        made = ModelProto()
        made.CopyFrom(source.model)
        splice(made.graph, (found.edit,))
        if verify:
            from tse_onnx.verification.folding import check_folding

            with phase(_log, "verifying"):
                checks = check_folding(source.model, made, scope, found, source.folder)
    before, after, unread = _rows(source, made, bound)
    unchanged = None if found.changed else source.original()
    if target is not None:
        from tse_onnx.files.staging import staging

        with phase(_log, f"writing {quoted(str(target))}"), staging(target) as stage:
            stage.write(made, source.folder, unchanged)
            stage.commit()
    return FoldResult(
        made, found.changed, found.left, checks, before, after, unread, target, source.title, back, unchanged
    )


def _reader(source: Source) -> passes.Read:
    """The numbers of a weight of a model, also where they lie in a file beside it."""

    def read(tensor: TensorProto) -> np.ndarray | None:
        if tensor.data_location != TensorProto.EXTERNAL:
            return passes.in_model(tensor)
        return None if source.folder is None else numpy_helper.to_array(loaded(tensor, source.folder))

    return read


def _rows(source: Source, made: ModelProto, bound: InputShapes) -> tuple[Rows | None, Rows | None, str]:
    """What both hold, or why that is not known."""
    try:
        before, after = (_held(network_of(one, dict(bound))) for one in (source.model, made))
    except ModelError as error:
        return None, None, str(error)
    return before, after, ""


def _held(network: Network) -> Rows:
    held: dict[str, Held] = dict(held_at_least(network))
    return Rows(sum(each.bytes for each in held.values()), {name: each.rows for name, each in held.items()})
