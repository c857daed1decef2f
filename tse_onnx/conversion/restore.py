"""Undo conversions and moved biases: the model that was, from what this one remembers."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx import ModelProto

from tse_onnx.errors import ModelError
from tse_onnx.files.encode import encoded
from tse_onnx.files.external import check_locations
from tse_onnx.files.outputs import file_path
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.passes.edit.biases import put_back
from tse_onnx.passes.edit.memory import forget, remembered
from tse_onnx.passes.edit.restore import Edited, restored
from tse_onnx.passes.edit.restore_by_name import WAY_OUT, lost, orphan, refusal, undone
from tse_onnx.passes.equalisation.numbers import has_scales, unscaled
from tse_onnx.passes.reasons import quoted
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoreResult:
    """A model without its tiles.

    `model` is the original (the very bytes of the input where no block was tiled), `blocks` are the names of those that
    were tiled, and `path` the file written, if any. It is not `exact` where another tool has changed the graph since it
    was converted: then the blocks are as they were, and everything else is as that tool left it. `equalised` says that
    its layers had exchanged scales, which they have back; `biases` are the convolutions, by their outputs, whose biases
    were corrected and are what they were.
    """

    model: ModelProto = field(repr=False)
    blocks: tuple[str, ...]
    path: Path | None
    exact: bool = True
    equalised: bool = False
    biases: tuple[str, ...] = ()
    _bytes: bytes | None = field(default=None, repr=False)

    def serialized(self) -> bytes:
        """The bytes of the restored model: the input's own where nothing was changed."""
        return b"".join(encoded(self.model)) if self._bytes is None else self._bytes


def restore(model: ModelLike, out: str | os.PathLike[str] | None = None) -> RestoreResult:
    """Give every tiled block of `model` its global mean back, as it was before any conversion, the layers that have
    exchanged scales their numbers, and corrected biases what they were.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed. The graph that comes out is compared
    with a digest of the original before anything is written to `out`, which may be the input's own path. Metadata,
    weights and names of weight files that were changed since stay as they are.

    Where the graph was changed since, as by a tool that simplifies or one that converts to half precision, the blocks
    are put back by the names of their values, and checked. Raises `ModelError` where that cannot be done.
    """
    source = open_model(model)
    target = None if out is None else file_path(out)
    if target is not None:
        check_locations(source.model, source.folder)
    with phase(_log, "restoring"):
        first = unscaled(source.model) if has_scales(source.model) else None
        made, blocks, exact = _restored(source if first is None else replace(source, model=first))
        made, biases = put_back(made)
        # What was tiled after its scales were exchanged has to have its weights back first.
        second = unscaled(made) if has_scales(made) else None
        made, equalised = second or made, first is not None or second is not None
        if has_scales(made):
            if not blocks and not biases:
                raise ModelError(
                    "its layers have exchanged scales, and their numbers were changed since, as by a quantiser or by "
                    "training: the way back leads from the model as equalise has left it"
                )
            exact = False
    for block in blocks:
        _log.debug("%s is restored", quoted(block))
    unchanged = None if blocks or biases or equalised else source.original()
    if target is not None:
        from tse_onnx.files.staging import staging

        with phase(_log, f"writing {quoted(str(target))}"), staging(target) as stage:
            stage.write(made, source.folder, unchanged)
            stage.commit()
    return RestoreResult(made, blocks, target, exact, equalised, biases, unchanged)


def _restored(source: Source) -> tuple[ModelProto, tuple[str, ...], bool]:
    """The model before any conversion, the blocks that were tiled, and whether it is the original."""
    memory = remembered(source.model)
    if gone := lost(source.model, memory):
        raise refusal(gone[0], "the node that made its means is gone or its values have other names")
    try:
        made, blocks = restored(source.model, memory)
        exact = True
    except Edited:
        from tse_onnx.verification.undone import check_undone

        found = undone(source.model, memory)
        check_undone(source.model, found, source.folder)
        made, blocks, exact = found.model, tuple(record.block for record in found.records), False
    if not blocks and (name := orphan(source.model)):
        raise ModelError(
            f"{quoted(name)} was made for a tiled block, but nothing in the model remembers what was there before: "
            f"another tool has dropped that; {WAY_OUT}"
        )
    if blocks:
        forget(made)
    return made, blocks, exact


def untiled(source: Source) -> Source:
    """A model as it was before any conversion, for one that starts anew."""
    model, blocks, _ = _restored(source)
    return replace(source, model=model, data=model.SerializeToString()) if blocks else source
