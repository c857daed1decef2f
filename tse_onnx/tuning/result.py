"""What was measured and what was chosen, as frozen data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tse_onnx.conversion.verdict import Verdict
from tse_onnx.decision.plan import Plan
from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.runtime.scores import Score
from tse_onnx.shown import Shown
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.statistics import Gate

if TYPE_CHECKING:
    from tse_onnx.costs.array import Array
    from tse_onnx.passes.targets.target import Target
    from tse_onnx.quantisation.qdq.scheme import Scheme
    from tse_onnx.tuning.within import Outside


@dataclass(frozen=True)
class CandidateLoss:
    """A choice for a block alone, all others as they are.

    `bytes` is what the network then buffers by the budget's figure, `saved` what that is less than before; `loss` is
    the mean over the samples, `error` its standard error. `macs_added` are the multiply-accumulates that it takes more,
    `cycles_added` the cycles on the array, where one was named.
    """

    choice: Choice | None
    bytes: int
    saved: int
    loss: float
    error: float
    macs_added: int
    cycles_added: int | None = None


@dataclass(frozen=True)
class BlockSensitivity:
    """What one block bears: `candidates` begin with the global mean, which saves and costs nothing.

    `gate` says how its gate moves on the data; None where a run of the model does not show it. `why` tells why the gate
    is, or is not, among the candidates as a constant. `outside` are choices that the target takes in no form, and
    the gates of the frame before where it cannot take them, each with the reason: they are no candidates.
    """

    block: Block
    gate: Gate | None
    why: str
    candidates: tuple[CandidateLoss, ...]
    outside: Outside = ()


@dataclass(frozen=True, repr=False)
class Sensitivity(Shown):
    """What every block of a model bears, on `samples`; `loss` and `figure` are the names of what was measured.

    `before` are the bytes by the figure with every global mean in place, counted on `machine`, `macs` the network's
    multiply-accumulates, `axis` the spatial axis that maps stream along. With a `target` only what is within its limits
    was offered. Where the samples are frames, `streams` is how many streams they are of, and `settled` whether the
    first frame of each was run until its gates were its own. With an `array`, its `cycles` are those of the network.
    With a `quantised` scheme the network was in eight bits: a loss is what a choice adds to the quantised network's,
    both told from the float one.
    """

    model: str
    samples: str
    loss: str
    figure: str
    machine: Machine
    before: int
    macs: int
    blocks: tuple[BlockSensitivity, ...]
    axis: int = 0
    target: Target | None = None
    streams: int = 0
    settled: bool = False
    array: Array | None = None
    cycles: int | None = None
    quantised: Scheme | None = None


@dataclass(frozen=True)
class Point:
    """A combination with its bytes: `predicted` is the sum of what its blocks cost alone, `measured` what it costs;
    `macs_added` are the multiply-accumulates that it takes more, `cycles_added` the cycles on the array, where one was
    named."""

    combination: Combination
    bytes: int
    predicted: float
    measured: float | None
    macs_added: int
    cycles_added: int | None = None

    def of(self, block: str) -> Choice | None:
        """What becomes of a block."""
        return dict(self.combination).get(block)


@dataclass(frozen=True)
class Judged:
    """A combination on samples that nothing was chosen by: `title` names it, `scores` are those of the outputs."""

    title: str
    point: Point
    scores: tuple[Score, ...]


@dataclass(frozen=True, repr=False)
class TuneResult(Shown):
    """A plan for a budget, and how it came about.

    * `plan`: what `convert` takes; `chosen`: the same as a point, with what it costs;
    * `sensitivity`: what each block bears alone, on the samples to choose by;
    * `pareto`: points from the smallest loss to the smallest buffer, the chosen one among them;
    * `judged`: the chosen combination, and others with the same tiles for every block, on the held-out samples that
      `held_out` describes; `verdict`: what the plan comes to by these;
    * `budget`: the bytes that were allowed, None where the loss was; `max_loss`: the other way round; `max_macs`,
      `max_cycles`: what might be added, in per cent of the network's multiply-accumulates and cycles, None without a
      limit;
    * `least`: the bytes that no combination is below;
    * `tried`: what came out along each spatial axis, by its number; the better one is the chosen one.
    """

    plan: Plan
    chosen: Point
    sensitivity: Sensitivity
    pareto: tuple[Point, ...]
    judged: tuple[Judged, ...]
    held_out: str
    verdict: Verdict
    budget: int | None
    max_loss: float | None
    max_macs: float | None
    least: int
    tried: tuple[tuple[int, Point], ...] = ()
    max_cycles: float | None = None

    @property
    def axis(self) -> int:
        """The spatial axis that maps stream along."""
        return self.sensitivity.axis

    @property
    def reduction(self) -> float:
        """The fraction of the buffer that is saved."""
        return self._saved(self.chosen.bytes)

    @property
    def most(self) -> float:
        """The fraction that no combination saves more than."""
        return self._saved(self.least)

    def _saved(self, held: int) -> float:
        before = self.sensitivity.before
        return 1 - held / before if before else 0.0


def share(part: int, whole: int) -> float:
    """One as a fraction of the other; 0 of nothing."""
    return part / whole if whole else 0.0


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points in the order of their bytes, the largest first, each combination once."""
    found = {point.combination: point for point in points}
    return tuple(sorted(found.values(), key=lambda point: (-point.bytes, point.predicted)))


def undominated(points: Sequence[Point]) -> list[Point]:
    """The points that no other is as good as in bytes, cycles and loss, and better in one of them."""

    def figures(point: Point) -> tuple[float, float, float]:
        loss = point.predicted if point.measured is None else point.measured
        return point.bytes, point.cycles_added or 0, loss

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))

    return [point for point in points if not any(beats(figures(other), figures(point)) for other in points)]
