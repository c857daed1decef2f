"""The library's three calls: find the blocks, measure their buffering, convert them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Union

from onnx import ModelProto

from tse_onnx.analysis import Analysis, InputShapes, analyse, need_sizes
from tse_onnx.errors import CheckFailed, UsageError
from tse_onnx.external import check_locations
from tse_onnx.metric import Buffering, measure
from tse_onnx.passes.block import Block
from tse_onnx.plan import CONVERTED, Decision, decide
from tse_onnx.report.data import Report
from tse_onnx.source import ModelLike, Source, open_model

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from tse_onnx.passes.splice import Change
    from tse_onnx.staging import Stage
    from tse_onnx.verification.result import Verification

PathLike = Union[str, "os.PathLike[str]"]

_MOST_THREADS = 1024


@dataclass(frozen=True)
class ConvertResult:
    """A finished conversion.

    `model` is the converted model (the very bytes of the input where nothing was converted), `report` what became of
    each block and what it buffers, `verification` what was checked, None if that was turned off, and `path` the file
    written, if any.
    """

    model: ModelProto = field(repr=False)
    report: Report
    verification: Verification | None
    path: Path | None
    _bytes: bytes | None = field(default=None, repr=False)

    def serialized(self) -> bytes:
        """The bytes of the converted model: the input's own where nothing was changed."""
        return self.model.SerializeToString() if self._bytes is None else self._bytes

    @property
    def blocks(self) -> tuple[Decision, ...]:
        """What became of every block and candidate, in node order."""
        return tuple(block.decision for block in self.report.buffering.blocks)

    def graph(self) -> gs.Graph:
        """The converted model as an onnx-graphsurgeon graph, for toolchains that work in it."""
        import onnx_graphsurgeon as gs

        return gs.import_onnx(self.model)


def find_blocks(model: ModelLike, *, input_shapes: InputShapes | None = None) -> tuple[Block, ...]:
    """Every global pooling of `model`, in node order: squeeze-and-excite blocks, and others with a reason.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`; `input_shapes` gives inputs with dynamic dimensions a
    size, as `{"images": (1, 3, 224, 224)}`. Raises `ModelError`, `UsageError`.
    """
    return analyse(open_model(model), input_shapes).blocks


def buffering(model: ModelLike, rows: int = 7, *, input_shapes: InputShapes | None = None) -> Buffering:
    """What the blocks of `model` buffer today, and with tiles of `rows` rows: the paper's metric.

    Raises `ModelError` where the model is unusable or a size is not known, `UsageError` for a bad option.
    """
    return preview(model, rows, input_shapes=input_shapes).buffering


def preview(model: ModelLike, rows: int = 7, *, input_shapes: InputShapes | None = None) -> Report:
    """The report of a conversion that is not made."""
    source = open_model(model)
    analysis, decisions = _plan(source, rows, input_shapes)
    return Report(source.title, source.opset, dict(analysis.bound), rows, measure(decisions), None)


def convert(
    model: ModelLike,
    out: PathLike | None = None,
    *,
    rows: int = 7,
    input_shapes: InputShapes | None = None,
    verify: bool = True,
    data: PathLike | None = None,
    preprocess: str = "unit",
    seed: int = 0,
    max_drift: float | None = None,
    expect: int | None = None,
    threads: int = 0,
    report: PathLike | None = None,
) -> ConvertResult:
    """Tile the squeeze of every squeeze-and-excite block of `model` into strips of `rows` rows.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed. With `out` the result is written there
    once every check has passed; `out` may be the input's own path. Blocks no taller than `rows` stay as they are.

    The result is verified with onnxruntime unless `verify` is False: on `data` (an .npz, an .npy, or a folder of images
    prepared as `preprocess` says: unit, imagenet or signed), or on noise drawn from `seed`. `max_drift` bounds the
    absolute difference of the model's outputs, `expect` fixes the number of converted blocks, `threads` limits
    onnxruntime. `report` is a file for the report as JSON; it appears together with the model.

    Raises `CheckFailed` where a check fails, `ModelError` for an unusable model or output, `DataError` for unusable
    data, `UsageError` for a bad option: all of them `TseError`, and in every case nothing is written.
    """
    _check_options(verify, preprocess, seed, max_drift, threads)
    source = open_model(model)
    base = source.path.parent if source.path is not None else None
    if verify or out is not None:
        check_locations(source.model, base)
    analysis, decisions = _plan(source, rows, input_shapes)
    figures = measure(decisions)
    if expect is not None and figures.totals.converted != expect:
        raise CheckFailed(f"{figures.totals.converted} blocks would be converted; {expect} were expected")
    converted, changes = _apply(analysis, decisions, owned=source.path is not None and not verify)
    unchanged = None if changes or analysis.bound else source.original()

    def check(folder: Path | None, renamed: Mapping[str, str]) -> Verification | None:
        if not verify:
            return None
        found = _verify(
            analysis, converted, decisions, changes, data, preprocess, seed, max_drift, threads, (base, folder), renamed
        )
        if not found.passed:
            raise CheckFailed("; ".join(found.failures), found)
        return found

    def described(verification: Verification | None) -> Report:
        return Report(source.title, source.opset, dict(analysis.bound), rows, figures, verification)

    target = None if out is None else Path(out)
    with contextlib.ExitStack() as stack:
        model_stage = _stage(stack, target)
        report_stage = _stage(stack, None if report is None else Path(report))
        if model_stage is None:
            verification = check(base, {})
        else:
            renamed = model_stage.write(converted, base, unchanged)
            verification = check(model_stage.out.parent, renamed)
        if report_stage is not None:
            from tse_onnx.report.json import report_text

            report_stage.write_bytes(report_text(described(verification)).encode())
        for stage in (model_stage, report_stage):
            if stage is not None:
                stage.commit()
    return ConvertResult(converted, described(verification), verification, target, unchanged)


def _stage(stack: contextlib.ExitStack, path: Path | None) -> Stage | None:
    if path is None:
        return None
    from tse_onnx.staging import staging

    return stack.enter_context(staging(path))


def _check_options(verify: bool, preprocess: str, seed: int, max_drift: float | None, threads: int) -> None:
    from tse_onnx.inputs import PREPROCESSES

    if max_drift is not None and not verify:
        raise UsageError("a bound on the drift needs the verification that was turned off")
    if max_drift is not None and not max_drift >= 0:
        raise UsageError(f"a bound on the drift is zero or more, not {max_drift}")
    if preprocess not in PREPROCESSES:
        raise UsageError(f"images are prepared as {', '.join(PREPROCESSES)}, not as {preprocess!r}")
    if seed < 0:
        raise UsageError(f"a seed is zero or more, not {seed}")
    if not 0 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads are 0 (all cores) to {_MOST_THREADS}, not {threads}")


def _plan(source: Source, rows: int, input_shapes: InputShapes | None) -> tuple[Analysis, tuple[Decision, ...]]:
    if rows < 1:
        raise UsageError(f"a tile needs at least one row, not {rows}")
    analysis = analyse(source, input_shapes)
    need_sizes(analysis)
    return analysis, decide(analysis.blocks, rows, source.opset)


def _apply(
    analysis: Analysis, decisions: tuple[Decision, ...], *, owned: bool
) -> tuple[ModelProto, tuple[Change, ...]]:
    """The converted model and what was changed in it; a model that is `owned` is changed in place instead of copied."""
    source = analysis.source
    if owned:
        converted = source.model
    else:
        converted = ModelProto()
        converted.CopyFrom(source.model)
    tiles = {decision.block.name: decision.tile for decision in decisions if decision.status == CONVERTED}
    changes: tuple[Change, ...] = ()
    if tiles:
        from tse_onnx.passes.lowering import lower
        from tse_onnx.passes.names import taken_names
        from tse_onnx.passes.splice import Change, apply

        taken = taken_names(source.model)
        changes = tuple(
            Change(part.scope.path, tuple(lower(block, tile, part.scope, taken) for block in part.blocks
                                          if (tile := tiles.get(block.name)) is not None))
            for part in analysis.parts
            if any(block.name in tiles for block in part.blocks)
        )  # fmt: skip
        apply(converted, changes)
    if analysis.bound:
        from tse_onnx.passes.shapes import bind_inputs

        bind_inputs(converted.graph, analysis.bound)
    return converted, changes


def _verify(
    analysis: Analysis,
    converted: ModelProto,
    decisions: tuple[Decision, ...],
    changes: tuple[Change, ...],
    data: PathLike | None,
    preprocess: str,
    seed: int,
    max_drift: float | None,
    threads: int,
    folders: tuple[Path | None, Path | None],
    renamed: Mapping[str, str],
) -> Verification:
    from tse_onnx.analysis import input_types
    from tse_onnx.inputs import data_inputs, random_inputs
    from tse_onnx.verification.verify import verify

    types = input_types(analysis)
    inputs = random_inputs(types, seed) if data is None else data_inputs(types, Path(data), preprocess)
    return verify(
        analysis, converted, decisions, changes, inputs,
        folders=folders, renamed=renamed, max_drift=max_drift, threads=threads,
    )  # fmt: skip
