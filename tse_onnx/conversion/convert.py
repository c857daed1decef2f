"""The library's three calls: find the blocks, measure their buffering, convert them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Union

from onnx import ModelProto

from tse_onnx.conversion.report import Report
from tse_onnx.conversion.rewrite import rewrite, style_of
from tse_onnx.data.presets import Preprocessing, preprocess_of
from tse_onnx.decision.analysis import Analysis, InputShapes, analyse, need_sizes
from tse_onnx.decision.buffering import Buffering, measure
from tse_onnx.decision.decision import Decision
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import prepare
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import CheckFailed, UsageError
from tse_onnx.files.encode import encoded
from tse_onnx.files.external import check_locations, external_tensors, location
from tse_onnx.files.outputs import file_path
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.timing import phase

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from tse_onnx.data.preprocess import Preprocess
    from tse_onnx.files.staging import Stage
    from tse_onnx.passes.edit.splice import Change
    from tse_onnx.streaming.execute.certificate import Certificate
    from tse_onnx.verification.result import Verification

PathLike = Union[str, "os.PathLike[str]"]

_MOST_THREADS = 1024

_log = logging.getLogger(__name__)


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
        return b"".join(encoded(self.model)) if self._bytes is None else self._bytes

    @property
    def blocks(self) -> tuple[Decision, ...]:
        """What became of every block and candidate, in node order."""
        return tuple(block.decision for block in self.report.buffering.blocks)

    def graph(self) -> gs.Graph:
        """The converted model as an onnx-graphsurgeon graph, for toolchains that work in it."""
        import onnx_graphsurgeon as gs

        return gs.import_onnx(self.model)


def find_blocks(
    model: ModelLike, *, input_shapes: InputShapes | None = None, kinds: Collection[str] = DEFAULT_KINDS
) -> tuple[Block, ...]:
    """Every global pooling of `model`, in node order: squeeze-and-excite blocks, and others with a reason.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`; `input_shapes` gives inputs with dynamic dimensions a
    size, as `{"images": (1, 3, 224, 224)}`; `kinds` are the kinds of blocks to look for: se, ese, eca, ge. Raises
    `ModelError`, `UsageError`.
    """
    return analyse(open_model(model), input_shapes, kinds).blocks


def buffering(
    model: ModelLike,
    rows: int = 7,
    *,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
) -> Buffering:
    """What the blocks of `model` buffer today, and with tiles of `rows` rows: the paper's metric.

    `tiling` or `plan` take the place of `rows`. Raises `ModelError` where the model is unusable or a size is not known,
    `UsageError` for a bad option.
    """
    return preview(model, rows, tiling=tiling, plan=plan, input_shapes=input_shapes, kinds=kinds).buffering


def preview(
    model: ModelLike,
    rows: int = 7,
    *,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
) -> Report:
    """The report of a conversion that is not made."""
    source = open_model(model)
    made = prepare(source, _chosen(rows, tiling, plan), input_shapes, kinds, selection=selection)
    return Report(source.title, source.opset, dict(made.analysis.bound), made.plan, measure(made.decisions), None)


def convert(
    model: ModelLike,
    out: PathLike | None = None,
    *,
    rows: int = 7,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    retile: bool = False,
    input_shapes: InputShapes | None = None,
    dynamic: bool = False,
    kinds: Collection[str] = DEFAULT_KINDS,
    upsample: str = "resize",
    means: str = "matmul",
    verify: bool = True,
    data: PathLike | None = None,
    preprocess: Preprocessing = "unit",
    seed: int = 0,
    max_drift: float | None = None,
    expect: int | None = None,
    threads: int = 0,
    time_limit: float | None = None,
    report: PathLike | None = None,
    certify: bool = False,
    tolerance: float | None = None,
) -> ConvertResult:
    """Tile the squeeze of every squeeze-and-excite block of `model` into strips of `rows` rows.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed. With `out` the result is written there
    once every check has passed; `out` may be the input's own path. Blocks no taller than `rows` stay as they are.

    `tiling` takes the place of `rows`: columns, patches, a running squeeze; `plan` that of both, with a choice for each
    block; `selection` says of either which blocks get it, and which get other rows. `kinds` are the kinds of blocks to
    convert. `input_shapes` binds inputs with dynamic dimensions; with `dynamic` the written model keeps these, and the
    shapes say only what to report and verify for. `upsample` (resize, gather, expand) and `means` (matmul, cumsum)
    choose among equivalent forms, for compilers that know only some. Blocks that are tiled already stay so, unless
    `retile` restores them first.

    The result is verified with onnxruntime unless `verify` is False: on `data` (an .npz, an .npy, or a folder of images
    prepared as `preprocess` says: a preset, a TOML file, or a `Preprocess`), or on noise drawn from `seed`. `max_drift`
    bounds the absolute difference of the model's outputs, `expect` fixes the number of converted blocks, `threads`
    limits onnxruntime, `time_limit` the seconds that verification and certification may take together. `report` is a
    file for the report as JSON; it appears together with the model. With `certify` the result is run row by row in the
    room that the dataflow model predicts, each tensor within `tolerance` of onnxruntime's, relative to its largest
    value (without one, what the coarsest type of the network allows); see docs/dataflow.md.

    Raises `CheckFailed` where a check fails, `ModelError` for an unusable model or output, `DataError` for unusable
    data, `UsageError` for a bad option: all of them `TseError`, and in every case nothing is written.
    """
    _check_options(verify, seed, max_drift, threads, time_limit)
    _check_tolerance(certify, tolerance)
    prepared = preprocess_of(preprocess)
    target, told = (None if path is None else file_path(path) for path in (out, report))
    source = open_model(model)
    if retile:
        from tse_onnx.conversion.restore import untiled

        source = untiled(source)
    if verify or out is not None:
        check_locations(source.model, source.folder)
    if told is not None:
        _check_report(told, source, target)
    style = style_of(upsample, means)
    made = prepare(source, _chosen(rows, tiling, plan), input_shapes, kinds, dynamic, selection)
    if verify:
        need_sizes(made.analysis)
    analysis, decisions, figures = made.analysis, made.decisions, measure(made.decisions)
    if expect is not None and figures.totals.converted != expect:
        raise CheckFailed(f"{figures.totals.converted} blocks would be converted; {expect} were expected")
    with phase(_log, "rewriting"):
        converted, changes = rewrite(made, style, owned=source.path is not None and not verify)
    unchanged = None if changes or made.written.bound else source.original()

    deadline = Deadline(time_limit)

    def check(folder: Path | None, renamed: Mapping[str, str]) -> Verification | None:
        if not verify:
            return None
        folders = (source.folder, folder)
        with phase(_log, "verifying"):
            found = _verify(
                analysis, converted, decisions, changes, data, prepared, seed, max_drift, threads, deadline, folders,
                renamed,
            )  # fmt: skip
        if not found.passed:
            raise CheckFailed("; ".join(found.failures), found)
        return found

    certificate = _certified(analysis, converted, data, prepared, seed, deadline, tolerance) if certify else None

    def described(verification: Verification | None) -> Report:
        bound = dict(analysis.bound)
        return Report(source.title, source.opset, bound, made.plan, figures, verification, dynamic, certificate)

    with contextlib.ExitStack() as stack:
        model_stage = _stage(stack, target)
        report_stage = _stage(stack, told)
        if model_stage is None:
            verification = check(source.folder, {})
        else:
            with phase(_log, f"writing what will be {quoted(str(target))}"):
                renamed = model_stage.write(converted, source.folder, unchanged)
            verification = check(model_stage.folder, renamed)
        if report_stage is not None:
            from tse_onnx.conversion.schema import report_text

            report_stage.write_bytes(report_text(described(verification)).encode())
        for stage in (report_stage, model_stage):  # where there is a model, there is its report
            if stage is not None:
                stage.commit()
    return ConvertResult(converted, described(verification), verification, target, unchanged)


def _certified(
    analysis: Analysis,
    converted: ModelProto,
    data: PathLike | None,
    preprocess: Preprocess,
    seed: int,
    deadline: Deadline,
    tolerance: float | None,
) -> Certificate:
    from tse_onnx.streaming.stream import certified

    with phase(_log, "certifying"):
        found = certified(
            analysis.source,
            converted,
            analysis.bound,
            None if data is None else Path(data),
            preprocess,
            seed,
            deadline,
            tolerance,
        )
    found.require()
    return found


def _stage(stack: contextlib.ExitStack, path: Path | None) -> Stage | None:
    if path is None:
        return None
    from tse_onnx.files.staging import staging

    return stack.enter_context(staging(path))


def _check_report(report: Path, source: Source, out: Path | None) -> None:
    """Raise `UsageError` where the report would take the place of a model, or of the weights of one."""
    from tse_onnx.files.staging import resolved

    models = [path for path in (source.path, out) if path is not None]
    files = {location(tensor) for tensor in external_tensors(source.model)}
    weights = [resolved(path).parent / where for path in models for where in files]
    if resolved(report) in map(resolved, (*models, *weights)):
        raise UsageError(f"the report would overwrite {report}, a file of the model")


def _check_options(verify: bool, seed: int, max_drift: float | None, threads: int, time_limit: float | None) -> None:
    if max_drift is not None and not verify:
        raise UsageError("a bound on the drift needs the verification that was turned off")
    if max_drift is not None and not max_drift >= 0:
        raise UsageError(f"a bound on the drift is zero or more, not {max_drift}")
    if seed < 0:
        raise UsageError(f"a seed is zero or more, not {seed}")
    if not 0 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads are 0 (all processors) to {_MOST_THREADS}, not {threads}")
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"a time limit is more than zero seconds, not {time_limit}")


def _check_tolerance(certify: bool, tolerance: float | None) -> None:
    if tolerance is None:
        return
    if not certify:
        raise UsageError("a tolerance is that of the certificate: it needs --certify")
    if not tolerance >= 0:
        raise UsageError(f"a tolerance is zero or more, not {tolerance}")


def _chosen(rows: int, tiling: Choice | None, plan: Plan | None) -> Plan:
    if plan is not None:
        return plan
    return Plan(tiling if tiling is not None else Tiling(rows))


def _verify(
    analysis: Analysis,
    converted: ModelProto,
    decisions: tuple[Decision, ...],
    changes: tuple[Change, ...],
    data: PathLike | None,
    preprocess: Preprocess,
    seed: int,
    max_drift: float | None,
    threads: int,
    deadline: Deadline,
    folders: tuple[Path | None, Path | None],
    renamed: Mapping[str, str],
) -> Verification:
    from tse_onnx.data.noise import samples_or_noise
    from tse_onnx.decision.analysis import input_types
    from tse_onnx.verification.verify import verify

    types = input_types(analysis)
    inputs = samples_or_noise(types, None if data is None else Path(data), preprocess, seed)
    return verify(
        analysis, converted, decisions, changes, inputs,
        folders=folders, renamed=renamed, max_drift=max_drift, threads=threads, deadline=deadline,
    )  # fmt: skip
