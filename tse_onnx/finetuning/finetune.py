"""The library's call: the weights of a network with tiles, trained so that it does what the original does."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tse_onnx.conversion.convert import Draft, PathLike, carry_out
from tse_onnx.conversion.quality_gates import NO_GATES, QualityGates
from tse_onnx.conversion.rewrite import style_of
from tse_onnx.conversion.verdict import telling
from tse_onnx.data.choice import Data
from tse_onnx.data.feed import Feed
from tse_onnx.data.given import DataLike
from tse_onnx.data.samples import Samples
from tse_onnx.decision.analysis import input_types
from tse_onnx.decision.decision import Convert
from tse_onnx.decision.finetuned import finetuned
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation, prepare
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.distillation.judging import better, judged
from tse_onnx.errors import UsageError
from tse_onnx.evaluation.metric import Metric, measured
from tse_onnx.evaluation.result import Evaluation, ModelScores
from tse_onnx.evaluation.run import check_labels
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.finetuning.parameters import chosen
from tse_onnx.finetuning.result import FinetuneResult
from tse_onnx.finetuning.settings import Course, Options, Settings
from tse_onnx.installation.extras import need
from tse_onnx.passes.blocks.block import Tiled
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import command
from tse_onnx.runtime.cuts import Values
from tse_onnx.runtime.scores import Score
from tse_onnx.timing import phase
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.choices import Combination, combined
from tse_onnx.tuning.network import Network, Whole
from tse_onnx.tuning.search import halves
from tse_onnx.tuning.store import identity, model_identity
from tse_onnx.verification.checks import Checks
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tse_onnx.distillation.place import Place
    from tse_onnx.distillation.training import Trained

_log = logging.getLogger(__name__)


def finetune(
    model: ModelLike,
    out: PathLike | None = None,
    *,
    data: DataLike | Data,
    rows: int = 7,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    metric: Metric | None = None,
    verify: bool = True,
    bounds: Mapping[str, float | None] | None = None,
    gates: QualityGates = NO_GATES,
    **options: Unpack[Options],
) -> FinetuneResult:
    """`model` converted, as `convert` takes `rows`, a `tiling` or a `plan` with a `selection`, with weights that were
    trained on `data` so that its outputs are as near as they can be to those of the original, or by labels. With `out`
    the result is written there.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed; `data` a path, or a `Data` that says
    how to read what is there; the options are those of `tse_onnx.finetuning.settings.Options`. Trained weights go back
    into their own initializers and all else is the conversion's, which is verified unless `verify` is False. `metric`
    is measured of the original and of the converted model before and after, on samples that had no part in the
    training. `bounds` are those of `Evaluation.require`, on these samples; `gates` bound what is buffered. Needs torch.

    Where training made nothing better, the conversion with the weights that were given is what comes out. Raises
    `CheckFailed` where a check fails or a bound is broken, and nothing is written; `UsageError` where there is nothing
    to train or torch is missing, `ModelError` for operators without a gradient, `DataError`.
    """
    settings = Settings(**options)
    need("finetune")
    given = data if isinstance(data, Data) else Data(data)
    source = open_model(model)
    _need_apart(out, source)
    wanted = plan if plan is not None else Plan(Tiling(rows) if tiling is None else tiling)
    made = prepare(source, wanted, settings.input_shapes, settings.kinds, selection=selection)
    combination = _combination(made, source)
    if gates != NO_GATES:  # rather now than when the work is done
        said = Draft(made).report if gates.max_memory is None else Draft(made).streamed(settings.hardware)
        dataclasses.replace(said, gates=gates).require()
    network = _network(source, settings)
    names, spare = chosen(settings.train, source.model, network, combination)
    samples = given.samples(input_types(network.analysis))
    to_train, others = halves(samples, settings.held_out, given.seed)
    to_judge, to_stop = halves(others, settings.stop, given.seed)
    if settings.label_weight:
        _need_labels(network, samples)
    task = _Task(network, combination, names, spare, to_train, to_stop, settings, given.seed)
    with phase(_log, "training"):
        weights, numbers, trained, place = _trained(task, made.plan, samples)
    tuned = dataclasses.replace(source, model=finetuned(source, weights))
    opened = [one.together(combination) for one in (network, _network(tuned, settings))]
    before, after = judged(network, opened, to_judge, settings.say)
    improved = trained.best > 0 and _gained(before, after, settings)
    _require(after if improved else before, source, to_judge, bounds or {})
    measure = None
    if metric is not None:
        measure = measured(metric, network.original, [partial(_run, network, one) for one in opened], to_judge)
    conversion = carry_out(
        tuned if improved else source, out if place.first else None, plan=wanted, selection=selection,
        style=style_of(), checks=Checks(verify, seed=given.seed, threads=settings.threads), retile=False,
        input_shapes=settings.input_shapes, dynamic=False, kinds=settings.kinds, expect=None, report=None,
        machine=settings.hardware, gates=gates,
    )  # fmt: skip
    return FinetuneResult(
        conversion=conversion,
        improved=improved,
        weights=tuple(weights),
        numbers=numbers,
        left_out=tuple(name for name in names if name not in weights),
        before=before,
        after=after,
        start=trained.start,
        epochs=trained.epochs,
        best=trained.best,
        samples=to_train.text,
        stop_samples=to_stop.text,
        held_out=to_judge.text,
        place=str(place),
        metric=measure,
    )


@dataclass(frozen=True)
class _Task:
    """What is trained: initializers of a network with these choices made, `spare` ones only where they are found again,
    by `samples`, until `stop` says that it is enough."""

    network: Network
    combination: Combination
    names: Sequence[str]
    spare: Collection[str]
    samples: Samples
    stop: Samples
    settings: Settings
    seed: int


def _network(source: Source, settings: Settings) -> Network:
    return Network(source, settings.input_shapes, settings.kinds, settings.threads)


def _need_apart(out: PathLike | None, source: Source) -> None:
    if out is not None and source.path is not None:
        from tse_onnx.files.staging import resolved

        if resolved(Path(out)) == resolved(source.path):
            raise UsageError(
                f"the result would take the place of {source.title}, which has the weights before: name another file"
            )


_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"})


def _combination(made: Preparation, source: Source) -> Combination:
    """What becomes of each block. Raises `UsageError` where there is nothing to make good again, or that by samples
    alone cannot be."""
    if any(node.op_type in _QUANTISED or node.op_type.startswith("QLinear") for node in source.model.graph.node):
        raise UsageError(
            f"{source.title} is quantised, and whole numbers have no gradient: fine-tune the network that it was made "
            "of, and quantise what comes out"
        )
    if tiled := next((block.name for block in made.analysis.blocks if isinstance(block, Tiled)), None):
        raise UsageError(
            f"block {quoted(tiled)} of {source.title} is tiled already, and the original is what it would be trained "
            f"against: give that, or what {command('restore')} makes of it"
        )
    found = combined((one.block.name, one.choice) for one in made.decisions if isinstance(one, Convert))
    if not found:
        raise UsageError("no block of the model is converted so: there is nothing that training could make good again")
    if carried := next((name for name, choice in found if isinstance(choice, Previous)), ""):
        raise UsageError(
            f"the plan scales {quoted(carried)} by the gates of the frame before, which single samples have not: keep "
            "its mean, or give it tiles"
        )
    return found


def _need_labels(network: Network, samples: Samples) -> None:
    """Raise `UsageError` where there are no labels, `DataError` where they are no classes of the model."""
    if samples.labels is None:
        raise UsageError(
            "it is to be trained by labels, and the data have none: name a file of them, or a folder for each class"
        )
    (first,) = Batches(samples).read([0])
    check_labels(network.original(first.feed), samples, needs_classes=True)


def _trained(task: _Task, plan: Plan, samples: Samples) -> tuple[Mapping[str, np.ndarray], int, Trained, Place]:
    """The trained weights by name, how many numbers they are, how that came about, and where."""
    import torch

    from tse_onnx.distillation.checkpoint import Checkpoint
    from tse_onnx.distillation.objective import Weighing
    from tse_onnx.distillation.pair import Pair
    from tse_onnx.distillation.place import place_of
    from tse_onnx.distillation.training import Trainer

    network, settings, fixed = task.network, task.settings, task.samples.batch if task.samples.fixed else None
    if settings.threads:
        torch.set_num_threads(settings.threads)
    changed = network.changed(task.combination, means="matmul")
    course = settings.course(task.samples.count)
    with place_of(settings.device, settings.precision) as place:
        pair = Pair(network, changed, (), task.names, fixed, place=place, spare=task.spare)
        pair.need_same(network, task.samples)
        weighing = Weighing(0.5, settings.feature_weight, settings.label_weight, settings.losses)
        what = _identity(task, plan, samples, place, course)
        checkpoint = None if settings.checkpoint is None else Checkpoint(Path(settings.checkpoint), what)
        trainer = Trainer(pair, task.samples, task.stop, course, task.seed, weighing, settings.vary)
        trained = trainer.trained(checkpoint)
        return pair.weights.arrays(trained.state, "lr"), pair.weights.numbers, trained, place


def _identity(task: _Task, plan: Plan, samples: Samples, place: Place, course: Course) -> str:
    """A digest of all that the training depends on."""
    settings, network = task.settings, task.network
    losses = {name: loss if isinstance(loss, str) else repr(loss) for name, loss in settings.losses.items()}
    labels = samples.labels if settings.label_weight else None
    return identity(
        model=model_identity(network.source), samples=samples.digest(), plan=plan.dumps(), seed=task.seed,
        shapes={key: list(dims) for key, dims in network.analysis.bound.items()}, kinds=sorted(settings.kinds),
        course=[course.epochs, course.steps, course.step, course.rate, course.patience],
        split=[settings.held_out, settings.stop], vary=settings.vary, train=list(task.names),
        loss=[settings.label_weight, settings.feature_weight, losses],
        labels=None if labels is None else labels.tolist(), precision=str(place.autocast), processes=place.world,
        version=VERSION,
    )  # fmt: skip


def _run(network: Network, stretch: Whole, feed: Feed) -> Values:
    return stretch.run(network.start(feed))


def _gained(before: Sequence[Score], after: Sequence[Score], settings: Settings) -> bool:
    """Whether training was worth it: by labels more samples are right, or as many and the outputs nearer."""
    was, now = telling(before), telling(after)
    right = [one.accuracy.top1 for one in (was, now) if one is not None and one.accuracy is not None]
    if settings.label_weight and len(set(right)) == 2:
        return right[1] > right[0]
    return better(after, before)


def _require(scores: Sequence[Score], source: Source, samples: Samples, bounds: Mapping[str, float | None]) -> None:
    """Raise `CheckFailed` where the outputs break a bound."""
    scored = (ModelScores("the converted model", tuple(scores)),)
    labelled = samples.labels is not None
    Evaluation(source.title, samples.text, None, samples.count, labelled, (), scored).require(**bounds)
