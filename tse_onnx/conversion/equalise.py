"""Equalisation: scales of channels exchanged between layers, so that eight bits lose less."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto

from tse_onnx.decision.inputs import InputShapes, bind, types_of
from tse_onnx.files.encode import encoded
from tse_onnx.files.external import check_locations
from tse_onnx.files.outputs import file_path
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.edit.splice import splice
from tse_onnx.passes.equalisation.numbers import edit_of, forget_scales, has_scales, remember_scales, unscaled
from tse_onnx.passes.equalisation.places import Left
from tse_onnx.passes.equalisation.scales import Equalised, equalisation
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.timing import phase

if TYPE_CHECKING:
    from tse_onnx.verification.equalising import OutputCheck

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EqualiseResult:
    """A model whose layers have exchanged scales.

    `changed` are the pairs of layers that did, with their scales and the spread of their ranges before and after;
    `left` those that did not, each with the reason; `checks` how far each output is from the original's (none where
    nothing was run). `path` is the file written, if any.
    """

    model: ModelProto = field(repr=False)
    changed: tuple[Equalised, ...]
    left: tuple[Left, ...]
    checks: tuple[OutputCheck, ...]
    path: Path | None
    _bytes: bytes | None = field(default=None, repr=False)

    def serialized(self) -> bytes:
        """The bytes of the model: the input's own where nothing was changed."""
        return b"".join(encoded(self.model)) if self._bytes is None else self._bytes


def equalise(
    model: ModelLike,
    out: str | os.PathLike[str] | None = None,
    *,
    powers_of_two: bool = False,
    input_shapes: InputShapes | None = None,
    verify: bool = True,
) -> EqualiseResult:
    """Give every channel of `model` the same range in the layer that makes it and in those that read it.

    A layer's channels are multiplied by a scale each, and those that read them divide by it: that changes nothing
    where all that lies between is positively homogeneous, as Relu is and SiLU is not. `model` is a path, an
    `onnx.ModelProto` or a `gs.Graph` and is never changed; its local functions and the bodies of its control flow stay
    as they are. With `powers_of_two` every output is the same to the bit. A model that was equalised before starts
    anew from what its weights were, or from what they are where they were changed since. `restore` is the way back.
    `input_shapes` gives inputs with dynamic dimensions a size. The network's outputs are compared with the original's
    on seeded noise before anything is written to `out`, unless `verify` is off.

    Raises `ModelError`, `UsageError`; `CheckFailed` where an output differs by more than rounding explains.
    """
    source = open_model(model)
    target = None if out is None else file_path(out)
    if target is not None:
        check_locations(source.model, source.folder)
    bound = bind(source, input_shapes or {})
    given = source.model
    if has_scales(given):
        given = ModelProto()
        given.CopyFrom(unscaled(source.model) or source.model)
        forget_scales(given)
    scope = scopes(given, bound, evaluate)[0]
    with phase(_log, "equalising"):
        found = equalisation(scope, powers_of_two)
    for left in found.left:
        _log.debug("%s stays as it is: %s", quoted(left.names[0]), left.reason)
    made, checks = given, tuple["OutputCheck", ...]()
    if found.changed:
        edit = edit_of(scope.index, found.changed)
        made = ModelProto()
        made.CopyFrom(given)
        splice(made.graph, (edit,))
        remember_scales(made, scope.index, edit, found.changed)
        if verify:
            from tse_onnx.data.noise import noise
            from tse_onnx.verification.equalising import check_equalised

            with phase(_log, "verifying"):
                feed = next(noise(types_of(source, bound), 0).feeds())
                checks = check_equalised(given, made, edit, feed, source.folder, powers_of_two)
    unchanged = None if made is not source.model else source.original()
    if target is not None:
        from tse_onnx.files.staging import staging

        with phase(_log, f"writing {quoted(str(target))}"), staging(target) as stage:
            stage.write(made, source.folder, unchanged)
            stage.commit()
    return EqualiseResult(made, found.changed, found.left, checks, target, unchanged)
