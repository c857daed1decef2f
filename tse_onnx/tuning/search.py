"""The library's two calls: what each block bears, and a plan for a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tse_onnx.conversion.plan_for import spelled
from tse_onnx.data.choice import Data
from tse_onnx.data.given import DataLike
from tse_onnx.data.samples import Samples
from tse_onnx.decision.analysis import input_types
from tse_onnx.decision.plan import Plan
from tse_onnx.errors import CheckFailed, DataError, ModelError, UsageError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.installation.extras import need
from tse_onnx.passes.blocks.block import Tiled
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.tuning.bench import bench_of
from tse_onnx.tuning.effort import Limits
from tse_onnx.tuning.judging import judged
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.result import BlockSensitivity, Point, Sensitivity, TuneResult, front
from tse_onnx.tuning.selections import Selections
from tse_onnx.tuning.settings import AXES, BOTH, Options, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


def sensitivity(model: ModelLike, data: DataLike | Data, **options: Unpack[Options]) -> Sensitivity:
    """What every choice for every block of `model` costs alone, on `data`.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`; `data` a path, or a `Data` that says how to read what is
    there; the options are those of `tse_onnx.tuning.settings.Options`. What was measured before is not measured again.

    Raises `ModelError` where the model has no block to choose for, `DataError`, `UsageError`.
    """
    settings = Settings(**options)
    if settings.axis == BOTH:
        raise UsageError("what a block bears is measured along one axis: rows or columns")
    chosen = data if isinstance(data, Data) else Data(data)
    settings = settings.on(chosen.frames)
    network, samples = _opened(model, chosen, settings)
    samples = _whole_batches(samples)
    with bench_of(_as_asked(network, samples, settings), samples, settings) as bench:
        return bench.sensitivity(*AXES[settings.axis])


def tune(
    model: ModelLike,
    data: DataLike | Data,
    *,
    budget: int | None = None,
    reduce: float | None = None,
    max_loss: float | None = None,
    max_macs: float | None = None,
    max_cycles: float | None = None,
    held_out: float = 0.5,
    trials: int = 60,
    points: int = 9,
    **options: Unpack[Options],
) -> TuneResult:
    """A plan that loses least within a memory budget, chosen on one part of `data` and judged on the other.

    Exactly one of these says what is wanted: `budget`, the bytes that the figure may reach; `reduce`, the fraction of
    it to be saved; `max_loss`, the loss that is allowed, for which the smallest buffer is looked for. `max_macs` bounds
    what is computed more, in per cent of the network's multiply-accumulates, `max_cycles` what that takes more on an
    `array`, in per cent of its cycles. The fraction `held_out` of the samples, drawn by `seed`, has no part in the
    choice. `trials` is how many combinations are measured to improve on the one with the smallest sum of losses,
    `points` how many of the Pareto curve.

    Everything else is as in `sensitivity`. Raises `CheckFailed` where no combination reaches what is wanted as well.
    """
    settings = Settings(**options)
    given = [value for value in (budget, reduce, max_loss) if value is not None]
    if len(given) != 1:
        raise UsageError("exactly one of a budget, a reduction and a bound on the loss says what is wanted")
    if not given[0] >= 0 or (reduce is not None and reduce > 1):
        raise UsageError("a budget and a bound on the loss are zero or more, a reduction is a fraction from 0 to 1")
    for bound in (max_macs, max_cycles):
        Plan(None, max_macs=bound)  # raises where it is no limit
    if max_cycles is not None and settings.elements is None:
        raise UsageError("a limit on cycles goes with an array that they are counted on")
    if not 0 < held_out < 1:
        raise UsageError(f"the part that is held out is a fraction between 0 and 1, not {held_out}")
    need("tune")
    given_data = data if isinstance(data, Data) else Data(data)
    settings = settings.on(given_data.frames)
    network, samples = _opened(model, given_data, settings)
    to_choose, to_judge = halves(samples, held_out, given_data.seed)
    network = _as_asked(network, to_choose, settings)
    with bench_of(network, to_choose, settings) as bench:
        limits = Limits(
            None if max_macs is None else int(network.macs * max_macs / 100),
            None if max_cycles is None or bench.cycles is None else int(bench.cycles.before * max_cycles / 100),
        )

        def along(axis: int) -> _Chosen:
            found = bench.sensitivity(axis)
            selections = Selections(bench, found, trials, limits)
            if max_loss is not None:
                return _Chosen(found, selections, selections.point(selections.smallest(max_loss)), None)
            allowed = budget if budget is not None else math.floor(found.before * (1 - (reduce or 0.0)) + 1e-6)
            return _Chosen(found, selections, selections.point(selections.within(allowed)), allowed)

        tried = _each(along, AXES[settings.axis])
        best = min(tried, key=lambda one: (0.0 if max_loss is not None else one.point.measured or 0.0, one.point.bytes))
        found, selections, chosen, allowed = best.found, best.selections, best.point, best.allowed
        curve = front([*selections.curve(points), chosen])
        verdicts = tuple(judged(bench, selections, chosen, allowed, to_judge))
        told = to_judge.text + ", in eight bits" * (settings.scheme is not None)
        verdict = bench.verdict(chosen.combination, found.axis, verdicts[0].scores, told)
    return TuneResult(
        _plan(chosen, found, max_macs, settings), chosen, found, curve, verdicts, to_judge.text, verdict, allowed,
        max_loss, max_macs, selections.least, tuple((one.found.axis, one.point) for one in tried),
        max_cycles,
    )  # fmt: skip


@dataclass(frozen=True)
class _Chosen:
    """What came out where maps stream along one axis."""

    found: Sensitivity
    selections: Selections
    point: Point
    allowed: int | None


def _each(along: Callable[[int], _Chosen], axes: Iterable[int]) -> list[_Chosen]:
    """What comes out along each of the axes that reach what is wanted. Raises `CheckFailed` where none does."""
    found, complaint = [], None
    for axis in axes:
        try:
            found.append(along(axis))
        except CheckFailed as error:
            complaint = complaint or error
    if not found and complaint is not None:
        raise complaint
    return found


def _opened(model: ModelLike, data: Data, settings: Settings) -> tuple[Network, Samples]:
    network = Network(open_model(model), settings.input_shapes, settings.kinds, settings.threads)
    if not network.blocks:
        tiled = any(isinstance(block, Tiled) for block in network.analysis.blocks)
        why = "its blocks are tiled already: restore it first" if tiled else "tse-onnx inspect says why"
        raise ModelError(f"{network.source.title} has no squeeze-and-excite block to choose for; {why}")
    return network, data.samples(input_types(network.analysis))


def _as_asked(network: Network, samples: Samples, settings: Settings) -> Network:
    """The network, brought to eight bits on the samples to choose by where that is asked for."""
    if settings.scheme is None:
        return network
    from tse_onnx.tuning.eight_bits import in_eight_bits

    return in_eight_bits(network, samples, settings, settings.scheme)


def _whole_batches(samples: Samples) -> Samples:
    """As many of the samples as make whole batches, where the model fixes their size."""
    count = samples.count - (samples.count % samples.batch if samples.fixed else 0)
    if not count:
        raise DataError(f"the model takes batches of {samples.batch}; {samples.text} are too few")
    return samples if count == samples.count else samples.subset(range(count))


def halves(samples: Samples, held_out: float, seed: int) -> tuple[Samples, Samples]:
    """The samples to choose by and those to judge by.

    Neighbours are alike, as files of one class are, so both are spread evenly: of as many stretches of the samples as
    there are to judge by, `seed` draws one sample each. Of frames whole streams are drawn so: those of one stream are
    alike. Raises `DataError` where there are too few.
    """
    if samples.starts:
        judge = _drawn(len(samples.starts), 1, held_out, seed, samples)
        choose = sorted(set(range(len(samples.starts))) - set(judge))
        return samples.of_streams(choose), samples.of_streams(judge)
    step = samples.batch if samples.fixed else 1
    units = samples.count // step
    judge = _drawn(units, step, held_out, seed, samples)
    choose = sorted(set(range(units * step)) - set(judge))
    parts = samples.subset(choose), samples.subset(judge)
    if samples.fixed:
        return parts
    to_choose, to_judge = (part.by(min(samples.batch, part.count)) for part in parts)
    return to_choose, to_judge


def _drawn(units: int, step: int, held_out: float, seed: int, samples: Samples) -> list[int]:
    """Of `units` that have `step` members each the members to judge by: as many as make whole units."""
    if units < 2:
        what = "streams, each whole, as their frames are alike" if samples.starts else "some"
        raise DataError(f"{samples.text} are too few: {what} to choose by are needed, and some to judge by")
    count = min(max(1, round(units * held_out)), units - 1) * step
    random = np.random.default_rng(seed)
    bounds = np.linspace(0, units * step, count + 1).round().astype(int)
    return [int(random.integers(start, stop)) for start, stop in pairwise(bounds)]


def _plan(chosen: Point, found: Sensitivity, max_macs: float | None, settings: Settings) -> Plan:
    """The plan of a point, with a note wherever a block is frozen or kept."""
    choices: dict[str, Choice | None] = {}
    notes = {}
    for entry in found.blocks:
        choice = choices[entry.block.name] = chosen.of(entry.block.name)
        if isinstance(choice, Frozen):
            notes[entry.block.name] = f"{entry.why} ({found.samples})"
        elif choice is None:
            notes[entry.block.name] = _kept(entry)
    target = None if settings.target is None else spelled(settings.target)
    return Plan(
        None, choices, notes, max_macs, target, quantised=None if settings.scheme is None else settings.scheme.operators
    )


def _kept(entry: BlockSensitivity) -> str:
    if entry.outside and len(entry.candidates) == 1:
        return f"kept: {entry.outside[0][1]}"
    return "kept: the budget has room for it"
