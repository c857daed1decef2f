"""Evaluate converted models on data, as a whole and stage by stage."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from tse_onnx.conversion.convert import convert
from tse_onnx.data.choice import Data
from tse_onnx.data.given import DataLike
from tse_onnx.data.presets import preprocess_of
from tse_onnx.decision.analysis import analyse
from tse_onnx.decision.buffering import measure
from tse_onnx.decision.decision import Convert, Keep, Refuse
from tse_onnx.decision.inputs import InputShapes, fed_inputs
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation, in_data_flow, prepare
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.evaluation.frames import compare_frames
from tse_onnx.evaluation.result import Evaluation, ModelScores, StageScores
from tse_onnx.evaluation.run import Contender, Progress, common_types, compare
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.passes.blocks.block import KINDS, Tiled
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.edit.feedback import fed_back
from tse_onnx.passes.graph.types import TensorType, tensor_type
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.passes.settings import setting
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)


def evaluate(
    original: ModelLike,
    converted: ModelLike | Sequence[ModelLike] = (),
    *,
    data: DataLike | Data,
    rows: int | None = None,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    by_stage: bool = False,
    settle: bool = False,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    threads: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare the outputs of `converted` models with those of the `original` on `data`.

    In place of converted models, `rows`, a `tiling` or a `plan`, as `convert` takes them (with `selection` and `kinds`)
    say how to convert the original for this; nothing is written. With `by_stage` one model is compared, and then, one
    stage at a time, the original with only the blocks of that stage converted in the same way: a stage is all blocks
    with maps of one size, as in Table 3 of the paper (Vosco, Shenkler, Grobman, "Tiled Squeeze-and-Excite", 2021).
    `input_shapes` binds dynamic dimensions that no model fixes, `progress` is called after each batch with the samples
    done and all samples. Where the data are frames (`Data.frames`), each model gets what it handed on with the frame
    before; with `settle` the first frame of a stream is run until its gates are its own.

    Raises `ModelError` for models that do not run or do not match, `DataError` for data that do not fit, `UsageError`.
    """
    plan = wanted(rows, tiling, plan)
    subject = Subject.of(original, converted, plan, selection, input_shapes or {}, kinds)
    if by_stage and len(subject.others) > 1:
        raise UsageError("stage by stage one conversion is evaluated: one converted model, or a plan")
    chosen = data if isinstance(data, Data) else Data(data)
    if settle and not chosen.frames:
        raise UsageError("it is a stream of frames whose first one is run until its gates have settled")
    if by_stage and chosen.frames:
        raise UsageError("frames are compared for the whole network, not stage by stage")
    samples = chosen.samples(subject.types)
    reference = Contender.of(subject.source)
    contenders = [Contender.of(other) for other in subject.others]
    stages: list[tuple[StageScores, Plan | None]] = []
    if plan is not None:
        contenders.append(subject.converted(reference, subject.made.plan, "the conversion"))
    if by_stage:
        stages = stages_of(subject.made)
    partial = [
        subject.converted(reference, choices, f"the conversion of stage {number}")
        for number, (_, choices) in enumerate(stages, 1)
        if choices is not None
    ]
    streams, everyone = None, [*contenders, *partial]
    with phase(_log, f"running {len(contenders) + len(partial) + 1} models on {samples.count} samples"):
        if chosen.frames:
            scores, streams = compare_frames(reference, everyone, samples, threads, progress, settle)
        else:
            scores = compare(reference, everyone, samples, threads, progress, chosen.labels is not None)
    rest = iter(scores[len(contenders) :])
    return Evaluation(
        original=subject.source.title,
        data=samples.text,
        preprocess=str(preprocess_of(chosen.preprocess)) if chosen.images else None,
        samples=samples.count,
        labelled=samples.labels is not None,
        skipped=samples.skipped,
        models=tuple(ModelScores(one.title, score) for one, score in zip(contenders, scores, strict=False)),
        stages=tuple(replace(stage, outputs=next(rest) if choices else ()) for stage, choices in stages)
        if by_stage
        else None,
        streams=streams,
        first_frames=() if chosen.frames else tuple(one.title for one in contenders if _feeds_back(one)),
    )


def wanted(rows: int | None, tiling: Choice | None, plan: Plan | None) -> Plan | None:
    """The plan that is asked for, in one of three ways or not at all. Raises `UsageError` for more than one."""
    if sum(one is not None for one in (rows, tiling, plan)) > 1:
        raise UsageError("one of rows, a tiling and a plan says how the original is converted")
    if rows is not None:
        return Plan(Tiling(rows))
    return plan if tiling is None else Plan(tiling)


def _feeds_back(contender: Contender) -> bool:
    """Whether a model takes gates of the frame before, as far as what it remembers can be read."""
    with contextlib.suppress(ModelError):
        return bool(fed_back(contender.model))
    return False


class Subject:
    """A network, and how it is converted: as the marks of a converted model say, or a plan."""

    def __init__(self, source: Source, others: Sequence[Source], types: dict[str, TensorType]) -> None:
        self.source, self.others, self.types = source, others, types
        self._kinds: Collection[str] = tuple(KINDS)
        self._plan: Plan | None = None
        self._selection = EVERYTHING
        self._made: Preparation | None = None

    @classmethod
    def of(
        cls,
        original: ModelLike,
        converted: ModelLike | Sequence[ModelLike],
        plan: Plan | None,
        selection: Selection,
        input_shapes: InputShapes,
        kinds: Collection[str],
    ) -> Subject:
        """Open the models. Raises `ModelError`, `UsageError`."""
        source = open_model(original)
        others = [open_model(one) for one in (converted if isinstance(converted, (list, tuple)) else [converted])]
        if not others and plan is None:
            raise UsageError("there is nothing to compare with the original: neither a converted model nor a plan")
        if others and plan is not None:
            raise UsageError("either converted models or a plan are compared with the original, not both")
        made = cls(source, others, common_types([source, *others], input_shapes))
        if plan is not None:
            made._plan, made._selection, made._kinds = plan, selection, kinds
        return made

    @property
    def made(self) -> Preparation:
        """What becomes of each block."""
        if self._made is None:
            plan = self._plan or marks_of(self.others[0], self.source)
            self._made = prepare(self.source, plan, self.bound(), self._kinds, selection=self._selection)
        return self._made

    def converted(self, reference: Contender, plan: Plan, title: str) -> Contender:
        """The original, converted by another plan."""
        result = convert(reference.model, plan=plan, input_shapes=self.bound(), kinds=self._kinds, verify=False)
        return Contender(title, result.model, reference.folder)

    def bound(self) -> InputShapes:
        """What differs from the dimensions that the original states."""
        stated = {value.name: tensor_type(value.type.tensor_type).dims for value in fed_inputs(self.source)}
        return {name: kind.dims for name, kind in self.types.items() if kind.dims and kind.dims != stated[name]}


def marks_of(converted: Source, original: Source) -> Plan:
    """The plan by which a model was converted, from what its blocks remember; blocks without marks stay as they are.

    Raises `ModelError` where there are no marks, or blocks that the original has not.
    """
    choices = {block.name: block.tiled for block in analyse(converted, None, KINDS).blocks if isinstance(block, Tiled)}
    if not choices:
        raise ModelError(
            f"{converted.title} has no converted block that says how it was tiled; give a plan or {setting('rows')}"
        )
    names = {block.name for block in analyse(original, None, KINDS).blocks}
    strange = [name for name in choices if name not in names]
    if strange:
        raise ModelError(f"{converted.title} was not made of {original.title}, which has no block {quoted(strange[0])}")
    return Plan(None, choices)


def stages_of(made: Preparation) -> list[tuple[StageScores, Plan | None]]:
    """The stages in data-flow order, not scored yet, each with the plan that converts it alone, or None where that
    changes nothing."""
    decisions = {decision.block.name: decision for decision in made.decisions if not isinstance(decision, Refuse)}
    stages: dict[tuple[int, ...], list[Convert | Keep]] = {}
    for block in in_data_flow(made.analysis.parts):
        if block.name in decisions:
            extents = tuple(extent or 0 for extent in decisions[block.name].block.extents)
            stages.setdefault(extents, []).append(decisions[block.name])
    found = []
    for extents, of_stage in stages.items():
        names = [decision.block.name for decision in of_stage]
        totals = measure(of_stage).totals
        stage = StageScores(extents, tuple(names), totals.converted, totals.before, totals.after, ())
        changed = {one.block.name: made.plan.of(one.block) for one in of_stage if isinstance(one, Convert)}
        found.append((stage, Plan(None, changed) if changed else None))
    return found
