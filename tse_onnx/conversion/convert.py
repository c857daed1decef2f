"""The library's three calls: find the blocks, measure their buffering, convert them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from onnx import ModelProto

from tse_onnx.conversion.quality_gates import NO_GATES, QualityGates
from tse_onnx.conversion.report import Report
from tse_onnx.conversion.rewrite import rewrite, style_of
from tse_onnx.data.given import DataLike
from tse_onnx.data.presets import Preprocessing
from tse_onnx.decision.analysis import analyse, need_sizes, trusted_values
from tse_onnx.decision.buffering import Buffering, measure
from tse_onnx.decision.decision import Decision
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation, prepare
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import CheckFailed, ModelError, UsageError
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
from tse_onnx.shown import Shown
from tse_onnx.timing import phase
from tse_onnx.verification.checks import Checks

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from tse_onnx.conversion.fitting import Fitting
    from tse_onnx.files.staging import Stage
    from tse_onnx.passes.edit.splice import Change
    from tse_onnx.passes.lowering import Style
    from tse_onnx.passes.targets.target import Target
    from tse_onnx.streaming.execute.certificate import Certificate
    from tse_onnx.streaming.network.machine import Machine
    from tse_onnx.streaming.network.machines import MachineLike
    from tse_onnx.targets.target_file import TargetLike
    from tse_onnx.verification.result import Verification

PathLike = Union[str, "os.PathLike[str]"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class ConvertResult(Shown):
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
    size, as `{"images": (1, 3, 224, 224)}`; `kinds` are the kinds of blocks to look for: se, ese, eca, ge, cbam,
    split, grn. Raises `ModelError`, `UsageError`.
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
    target: TargetLike | None = None,
) -> Buffering:
    """What the blocks of `model` buffer today, and with tiles of `rows` rows: the paper's metric.

    `tiling` or `plan` take the place of `rows`; with a `target`, a block of which no form is within its limits stays as
    it is. Raises `ModelError` where the model is unusable or a size is not known,
    `UsageError` for a bad option.
    """
    drafted = draft(model, rows, tiling=tiling, plan=plan, input_shapes=input_shapes, kinds=kinds, target=target)
    return drafted.report.buffering


@dataclass(frozen=True)
class Draft:
    """A conversion that is decided and not made."""

    made: Preparation = field(repr=False)
    target: Target | None = None
    styles: Mapping[str, Style] = field(default_factory=dict, repr=False)
    """How the blocks are written for the target, by name."""

    @property
    def report(self) -> Report:
        """What would be said of it."""
        return replace(_report(self.made), target=self.target)

    @cached_property
    def _rewritten(self) -> tuple[ModelProto, tuple[Change, ...]]:
        return rewrite(self.made, style_of(), owned=False, styles=self.styles)

    def converted(self) -> ModelProto:
        """The model that it would come to, unverified."""
        return self._rewritten[0]

    def trusted(self) -> frozenset[str]:
        """The values of that model whose sizes are sound because those of the original are."""
        return trusted_values(self.made.analysis, self._rewritten[1])

    def streamed(self, machine: MachineLike) -> Report:
        """The report with what the whole network holds on `machine`, or with the trouble that there was with it."""
        return _streamed(self.report, self.made, self.converted(), self.trusted(), _hardware(machine), every=True)


def draft(
    model: ModelLike,
    rows: int = 7,
    *,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    target: TargetLike | None = None,
) -> Draft:
    """What a conversion would do; the arguments are those of `convert`, and so are the errors."""
    chosen = _chosen(rows, tiling, plan)
    made = prepare(open_model(model), chosen, input_shapes, kinds, selection=selection)
    fitting = _fitting(target or chosen.target)
    if fitting is None:
        return Draft(made)
    made, styles = _fitted(made, fitting)
    return Draft(made, fitting.target, styles)


def _streamed(
    said: Report, made: Preparation, converted: ModelProto, trusted: Collection[str], machine: Machine, *, every: bool
) -> Report:
    """`said` with what the whole network holds before and after, counted before the original may change: all figures
    where `every` one is asked for, or what a verdict says."""
    from tse_onnx.streaming.compare import compare

    analysis = made.analysis
    try:
        found = compare(
            analysis.source, converted, input_shapes=analysis.bound, machine=machine, types=analysis.main.types,
            trusted=trusted,
            axis=_streaming(made),
        )  # fmt: skip
        _ = found.least
        if every:
            _ = found.before, found.after
    except ModelError as error:  # the blocks' own figures need less
        return replace(said, trouble=str(error))
    return replace(said, comparison=found)


def _streaming(made: Preparation) -> int:
    """The spatial axis that maps stream along where a plan is carried out: rows and columns are what a network can."""
    return 1 if made.plan.axis == 1 else 0


def _report(made: Preparation) -> Report:
    source, bound = made.analysis.source, dict(made.analysis.bound)
    return Report(source.title, source.opset, bound, made.plan, measure(made.decisions), None)


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
    upsample: str | None = None,
    means: str | None = None,
    target: TargetLike | None = None,
    verify: bool = True,
    data: DataLike | None = None,
    preprocess: Preprocessing = "unit",
    seed: int = 0,
    max_drift: float | None = None,
    expect: int | None = None,
    threads: int = 0,
    time_limit: float | None = None,
    report: PathLike | None = None,
    alls: PathLike | None = None,
    certify: bool = False,
    tolerance: float | None = None,
    machine: MachineLike | None = None,
    max_buffer: int | None = None,
    max_memory: int | None = None,
    min_saved: float | None = None,
) -> ConvertResult:
    """Tile the squeeze of every squeeze-and-excite block of `model` into strips of `rows` rows.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed. With `out` the result is written there
    once every check has passed; `out` may be the input's own path. Blocks no taller than `rows` stay as they are.

    `tiling` takes the place of `rows`: columns, patches, a running squeeze; `plan` that of both, with a choice for each
    block; `selection` says of either which blocks get it, and which get other rows. `kinds` are the kinds of blocks to
    convert. `input_shapes` binds inputs with dynamic dimensions; with `dynamic` the written model keeps these, and the
    shapes say only what to report and verify for. `upsample` (resize, gather, expand) and `means` (matmul, cumsum)
    choose among equivalent forms, for compilers that know only some: the first of each, or of those left open the
    first that is within the limits of `target`, a name, a TOML file or a `Target` (without one, of the plan's); a block
    that has none is refused.
    Blocks that are tiled already stay so, unless `retile` restores them first.

    The result is verified with onnxruntime unless `verify` is False: on `data` (an .npz, an .npy, arrays, or a folder
    of images prepared as `preprocess` says: a preset, a TOML file, or a `Preprocess`), or on noise drawn from `seed`.
    `max_drift` bounds the absolute difference of the model's outputs, `expect` fixes the number of converted blocks,
    `threads` limits onnxruntime, `time_limit` the seconds that verification and certification may take together.
    `report` is a file for the report as JSON, `alls` one for the line of a model script by which Hailo's compiler tiles
    the original the same way; they appear together with the model. With `certify` the result is run row by row, or
    column by column where the plan cuts columns, in the room that the dataflow model predicts, each tensor within
    `tolerance` of onnxruntime's, relative to its largest value (without one, what the coarsest type of the network
    allows); see docs/dataflow.md. With a `machine` (a `Machine`, a preset's name or a TOML file) the report says what
    the whole network holds on it, before and after. `max_buffer` bounds the bytes that the scales of the blocks hold
    back, `max_memory` those that the whole network holds on the `machine` (the ideal one where none is named), and
    `min_saved` is the least that has to be saved of that, in per cent.

    Raises `CheckFailed` where a check fails, `ModelError` for an unusable model or output, `DataError` for unusable
    data, `UsageError` for a bad option: all of them `TseError`, and in every case nothing is written.
    """
    chosen, gates = _chosen(rows, tiling, plan), QualityGates(max_buffer, max_memory, min_saved)
    return carry_out(
        model,
        out,
        plan=chosen,
        selection=selection,
        style=style_of(upsample, means),
        fitting=_fitting(target or chosen.target, upsample, means),
        checks=Checks(verify, certify, data, preprocess, seed, threads, max_drift, tolerance, time_limit),
        retile=retile,
        input_shapes=input_shapes,
        dynamic=dynamic,
        kinds=kinds,
        expect=expect,
        report=report,
        alls=alls,
        machine=_hardware(machine) if machine is not None or gates.of_network else None,
        gates=gates,
    )


def _hardware(machine: MachineLike | None) -> Machine:
    from tse_onnx.streaming.network.machines import machine_of

    return machine_of(machine)


def carry_out(
    model: ModelLike,
    out: PathLike | None,
    *,
    plan: Plan,
    selection: Selection,
    style: Style,
    checks: Checks,
    retile: bool,
    input_shapes: InputShapes | None,
    dynamic: bool,
    kinds: Collection[str],
    expect: int | None,
    report: PathLike | None,
    alls: PathLike | None = None,
    fitting: Fitting | None = None,
    machine: Machine | None,
    gates: QualityGates = NO_GATES,
    configuration: Mapping[str, Any] | None = None,
) -> ConvertResult:
    """A conversion whose options are gathered; `convert` says what they mean, and what is raised."""
    target, told, script = (None if path is None else file_path(path) for path in (out, report, alls))
    source = open_model(model)
    if retile:
        from tse_onnx.conversion.restore import untiled

        source = untiled(source)
    if checks.verify or out is not None:
        check_locations(source.model, source.folder)
    for what, path in (("report", told), ("script", script)):
        if path is not None:
            _check_apart(what, path, source, target)
    if told is not None and told == script:
        raise UsageError(f"{told} would be the report and the script")
    made = prepare(source, plan, input_shapes, kinds, dynamic, selection)
    if checks.verify:
        need_sizes(made.analysis)
    styles: Mapping[str, Style] = {}
    if fitting is not None:
        made, styles = _fitted(made, fitting)
    said = replace(
        _report(made), target=None if fitting is None else fitting.target, gates=gates, configuration=configuration
    )
    line = None if script is None else _script(made)
    if expect is not None and (count := said.buffering.totals.converted) != expect:
        raise CheckFailed(f"{count} blocks would be converted; {expect} were expected")
    with phase(_log, "rewriting"):
        owned = source.path is not None and not checks.verify and not machine
        converted, changes = rewrite(made, style, owned=owned, styles=styles)
    if machine is not None:
        with phase(_log, "streaming both networks"):
            trusted = trusted_values(made.analysis, changes)
            said = _streamed(said, made, converted, trusted, machine, every=False)
    said.require()
    unchanged = None if changes or made.written.bound else source.original()
    deadline = Deadline(checks.time_limit)
    certificate = _certified(made, converted, checks, deadline)

    def described(verification: Verification | None) -> Report:
        return replace(said, verification=verification, dynamic=dynamic, certificate=certificate)

    with contextlib.ExitStack() as stack:
        model_stage = _stage(stack, target)
        report_stage, script_stage = _stage(stack, told), _stage(stack, script)
        if model_stage is None:
            verification = _checked(made, converted, changes, checks, deadline, source.folder, {})
        else:
            with phase(_log, f"writing what will be {quoted(str(target))}"):
                renamed = model_stage.write(converted, source.folder, unchanged)
            verification = _checked(made, converted, changes, checks, deadline, model_stage.folder, renamed)
        if report_stage is not None:
            from tse_onnx.conversion.schema import report_text

            report_stage.write_bytes(report_text(described(verification)).encode())
        if script_stage is not None and line is not None:
            script_stage.write_bytes(f"{line}\n".encode())
        for stage in (report_stage, script_stage, model_stage):  # where there is a model, there is its report
            if stage is not None:
                stage.commit()
    return ConvertResult(converted, described(verification), verification, target, unchanged)


def _checked(
    made: Preparation,
    converted: ModelProto,
    changes: tuple[Change, ...],
    checks: Checks,
    deadline: Deadline,
    folder: Path | None,
    renamed: Mapping[str, str],
) -> Verification | None:
    """The verification of a model whose weights lie in `folder`, None where it is turned off; it passed."""
    if not checks.verify:
        return None
    from tse_onnx.verification.verify import verify

    with phase(_log, "verifying"):
        folders = (made.analysis.source.folder, folder)
        found = verify(made, converted, changes, checks, folders=folders, renamed=renamed, deadline=deadline)
    if not found.passed:
        raise CheckFailed("; ".join(found.failures), found)
    return found


def _certified(made: Preparation, converted: ModelProto, checks: Checks, deadline: Deadline) -> Certificate | None:
    if not checks.certify:
        return None
    from tse_onnx.streaming.stream import certified

    analysis = made.analysis
    with phase(_log, "certifying"):
        found = certified(
            analysis.source, converted, analysis.bound, checks.samples, deadline, checks.tolerance, _streaming(made),
        )  # fmt: skip
    found.require()
    return found


def _stage(stack: contextlib.ExitStack, path: Path | None) -> Stage | None:
    if path is None:
        return None
    from tse_onnx.files.staging import staging

    return stack.enter_context(staging(path))


def _script(made: Preparation) -> str:
    from tse_onnx.conversion.alls import first_tiles_of

    return first_tiles_of(made).line


def _check_apart(what: str, path: Path, source: Source, out: Path | None) -> None:
    """Raise `UsageError` where a file would take the place of a model, or of the weights of one."""
    from tse_onnx.files.staging import resolved

    models = [known for known in (source.path, out) if known is not None]
    files = {location(tensor) for tensor in external_tensors(source.model)}
    weights = [resolved(known).parent / where for known in models for where in files]
    if resolved(path) in map(resolved, (*models, *weights)):
        raise UsageError(f"the {what} would overwrite {path}, a file of the model")


def _fitting(target: TargetLike | None, upsample: str | None = None, means: str | None = None) -> Fitting | None:
    if target is None:
        return None
    from tse_onnx.conversion.fitting import fitting_of

    return fitting_of(target, upsample, means)


def _fitted(made: Preparation, fitting: Fitting) -> tuple[Preparation, Mapping[str, Style]]:
    from tse_onnx.conversion.fitting import fitted

    with phase(_log, f"fitting to {fitting.target.name}"):
        return fitted(made, fitting)


def _chosen(rows: int, tiling: Choice | None, plan: Plan | None) -> Plan:
    if plan is not None:
        return plan
    return Plan(tiling if tiling is not None else Tiling(rows))
