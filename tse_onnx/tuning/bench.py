"""A network on its samples: what was measured of it, and what is still to be."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from tse_onnx.conversion.verdict import GATE, MIN, Verdict
from tse_onnx.data.feed import Feed
from tse_onnx.data.samples import Samples
from tse_onnx.errors import ModelError
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.ort import VERSION as ORT_VERSION
from tse_onnx.runtime.scores import Score
from tse_onnx.timing import phase
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.choices import UNSEEN, Combination, inexact
from tse_onnx.tuning.effort import Cycles
from tse_onnx.tuning.figures import Figure, figure_of, verdict_on
from tse_onnx.tuning.local import Here
from tse_onnx.tuning.losses import TOP1, Loss, loss_named
from tse_onnx.tuning.network import Facts, Network, facts_on
from tse_onnx.tuning.result import BlockSensitivity, CandidateLoss, Sensitivity
from tse_onnx.tuning.settings import ANY, NEVER, Settings
from tse_onnx.tuning.statistics import Gate
from tse_onnx.tuning.store import Store, default_folder, identity, model_identity, program
from tse_onnx.tuning.within import Outside, outside_of
from tse_onnx.tuning.work import Measured, in_streams, only, weight

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """Carries measurements out."""

    def measure(self, wanted: dict[Combination, frozenset[int]]) -> Iterator[Measured]:
        """Measure every combination on its batches."""

    def close(self) -> None:
        """Let go of what was started."""


class Bench:
    """A network, the samples that it is measured on, and what was measured already."""

    def __init__(
        self, network: Network, batches: Batches, loss_name: str, settings: Settings, runner: Runner, store: Store
    ) -> None:
        self.network, self.batches, self.loss_name, self.settings = network, batches, loss_name, settings
        self._runner, self._store = runner, store
        self._figures: dict[tuple[str, int], Figure] = {}
        elements = settings.elements
        self.cycles = None if elements is None else Cycles(network, elements, settings.input_shapes)

    def figure(self, axis: int, name: str | None = None) -> Figure:
        """The figure called `name`, else what is counted as buffer, where maps stream along a spatial axis."""
        asked = self.settings
        key = (name or asked.figure, axis)
        if key not in self._figures:
            counted = identity(figure=key[0], axis=axis, machine=asdict(asked.hardware))
            self._figures[key] = figure_of(
                key[0], self.network, asked.hardware, asked.input_shapes, axis, partial(self._store.count, counted)
            )
        return self._figures[key]

    def say(self, what: str, done: float, total: float) -> None:
        """Tell the caller how far the work is."""
        if self.settings.progress is not None:
            self.settings.progress(what, done, total)

    def measure(self, combinations: Iterable[Combination], what: str) -> None:
        """Measure what was not measured yet; of what is exact there is nothing to be measured."""
        numbers = self.batches.numbers
        changing = (changes for one in combinations if (changes := inexact(one)))
        wanted = {one: missing for one in changing if (missing := self._store.missing(one, numbers))}
        wanted |= {one: self.batches.streams(those) for one, those in wanted.items() if in_streams(self.network, one)}
        total = sum(weight(self.network, one) * len(those) for one, those in wanted.items())
        done = 0.0
        self.say(what, done, total)
        with phase(_log, f"{what}: measuring {len(wanted)} combinations"):
            for measured in self._runner.measure(wanted) if wanted else ():
                self._store.add(measured)
                done += weight(self.network, measured.combination)
                self.say(what, done, total)

    def losses(self, combination: Combination) -> np.ndarray:
        """The losses of a combination that was measured, sample by sample."""
        changes = inexact(combination)
        if not changes:
            return np.zeros(self.batches.samples.count)
        return np.array(self._store.losses(changes, self.batches.numbers))

    def sensitivity(self, axis: int) -> Sensitivity:
        """What every choice for every block costs alone, where maps stream along a spatial axis."""
        network, opset, figure = self.network, self.network.source.opset, self.figure(axis)
        target = self.settings.within
        try:
            before = figure.of(())
        except ModelError as error:
            raise ModelError(
                f"{error}; {setting('figure', 'gate')} counts what the scales hold alone, and needs less"
            ) from None
        facts = facts_on(network, self._told("watching gates and means"), axis)
        self.batches.hand_on({name: fact.gates for name, fact in facts.items() if fact.gates is not None})
        offered: list[tuple[Convertible, str, list[Choice | None]]] = []
        outside: dict[str, Outside] = {}
        for block in network.blocks:
            fact = facts.get(block.name, Facts(None, None))
            why, frozen = self._freezing(fact.gate)
            menu = self.settings.menu
            tilings = menu.tilings(block, opset, fact.means, axis)
            twice = menu.recomputes(block, network.sites[block.name])
            gates: list[Choice | None] = [fact.gate.frozen] if fact.gate is not None and frozen else []
            handed = menu.previous(block, network.sites[block.name], fact.gate)
            outside[block.name] = tuple((choice, refused) for choice, refused in handed if refused)
            taken = [choice for choice, refused in handed if not refused]
            offered.append((block, why, [*tilings, *twice, *taken, *gates]))
        if target is not None:
            with phase(_log, f"fitting choices to {target.name}"):
                unfit = outside_of(network, {block.name: own for block, _, own in offered}, target)
            left = {name: {choice for choice, _ in those} for name, those in unfit.items()}
            outside = {name: (*those, *unfit.get(name, ())) for name, those in outside.items()}
            offered = [(block, why, [one for one in own if one not in left[block.name]]) for block, why, own in offered]
        self.measure((only(one, block.name) for block, _, own in offered for one in own), "measuring blocks")
        found = []
        for number, (block, why, own) in enumerate(offered):
            self.say("counting buffers", number, len(offered))
            candidates = [CandidateLoss(None, before, 0, 0.0, 0.0, 0, None if self.cycles is None else 0)]
            for choice in own:
                losses, held = self.losses(only(choice, block.name)), figure.of(only(choice, block.name))
                macs = network.macs_added(only(choice, block.name))
                cycles = None if self.cycles is None else self.cycles.of(block, choice)
                candidates.append(
                    CandidateLoss(choice, held, before - held, mean(losses), _error(losses), macs, cycles)
                )
            gate = facts.get(block.name, Facts(None, None)).gate
            found.append(BlockSensitivity(block, gate, why, tuple(candidates), outside.get(block.name, ())))
        settings = self.settings
        return Sensitivity(
            network.source.title, self.batches.samples.text, self.loss_name, settings.figure, settings.hardware,
            before, network.macs, tuple(found), axis, target, len(self.batches.samples.starts), settings.settle,
            settings.elements, None if self.cycles is None else self.cycles.before, settings.scheme,
        )  # fmt: skip

    def verdict(self, combination: Combination, axis: int, scores: Sequence[Score], samples: str) -> Verdict:
        """What a combination comes to, with its scores on `samples`."""
        figures = self.figure(axis, GATE), self.figure(axis, MIN)
        return verdict_on(combination, *figures, self.settings.hardware, scores, samples)

    def _told(self, what: str) -> Iterator[Feed]:
        """The batches, with a word on how far they are."""
        for number, batch in enumerate(self.batches):
            self.say(what, number, len(self.batches.numbers))
            yield batch.feed

    def _freezing(self, gate: Gate | None) -> tuple[str, bool]:
        """Why a gate is, or is not, offered as a constant, and whether it is."""
        if self.settings.freeze == NEVER:
            return "no gate is to be frozen", False
        if gate is None:
            return UNSEEN, False
        moves = f"its gate moves by {100 * gate.moved:.2g} % of its size, by {gate.largest:.2g} at most"
        if not gate.largest:
            moves = "its gate never moves"
        if self.settings.freeze == ANY:
            return moves, True
        return moves, gate.moved <= self.settings.still


@contextlib.contextmanager
def bench_of(network: Network, samples: Samples, settings: Settings) -> Iterator[Bench]:
    """A bench that keeps what it measures, closed at the end."""
    batches = Batches(samples, settings.settle)
    (first,) = batches.read([0])
    if isinstance(settings.loss, str):
        name, loss = loss_named(settings.loss, network.reference(first.feed), samples.labels)
    else:
        name, loss = getattr(settings.loss, "__name__", "function"), settings.loss
    # Numbers of the user's own function are not kept: nothing tells when it changes.
    folder = None
    if isinstance(settings.loss, str) and settings.cache is not False:
        folder = default_folder() if settings.cache is True else Path(settings.cache)
    what = identity(
        model=model_identity(network.source), samples=samples.digest(), batch=batches.size, loss=name,
        labels=None if samples.labels is None or name != TOP1 else samples.labels.tolist(),
        shapes={key: list(dims) for key, dims in network.analysis.bound.items()}, kinds=sorted(settings.kinds),
        versions=[program(), onnx.__version__, ORT_VERSION],
        **({"streams": samples.starts, "settle": settings.settle} if samples.starts else {}),
        **({} if network.told_from is None else {"told_from": model_identity(network.told_from.source)}),
    )  # fmt: skip
    with (
        Store(folder, what) as store,
        contextlib.closing(_runner(network, loss, batches, settings)) as runner,
    ):
        if store.found:
            _log.info("%d measurements of an earlier run are taken from %s", store.found, store.path)
        yield Bench(network, batches, name, settings, runner, store)


def _runner(network: Network, loss: Loss, batches: Batches, settings: Settings) -> Runner:
    if settings.workers is None and settings.scheduler is None:
        return Here(network, loss, batches, settings.memory)
    from tse_onnx.tuning.cluster import Cluster

    return Cluster(
        network, loss, batches, settings.memory, address=settings.scheduler, workers=settings.workers,
        input_shapes=settings.input_shapes, kinds=frozenset(settings.kinds), threads=settings.threads,
    )  # fmt: skip


def mean(losses: np.ndarray) -> float:
    """The mean loss of the samples."""
    return float(np.mean(losses))


def _error(losses: np.ndarray) -> float:
    """The standard error of the mean; 0 where there is one sample, or no bound."""
    if len(losses) < 2 or not np.isfinite(losses).all():
        return 0.0
    return float(np.std(losses, ddof=1) / math.sqrt(len(losses)))
