"""Units of work: combinations on batches, and how they are carried out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tse_onnx.data.feed import Feed
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.runtime.cuts import Stretch, Values
from tse_onnx.tuning.choices import Combination, carries
from tse_onnx.tuning.losses import Loss, losses_of
from tse_onnx.tuning.network import Network

_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Batch:
    """Samples that run together: their number among the batches, what the model is fed with, and their labels.

    A frame of a stream is a batch: `begins` says whether it is the first one, which may have to `settle`; `handed` are
    the original's gates [channels] of the frame before, by block: of a first frame nothing, or its own once settled.
    """

    number: int
    feed: Feed = field(repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)
    begins: bool = False
    settle: bool = False
    handed: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return next((len(array) for array in self.feed.values() if array.ndim), 1)


@dataclass(frozen=True)
class Measured:
    """The losses of a combination on the samples of one batch."""

    combination: Combination
    batch: int
    losses: Sequence[float]


# As far as any processor's vectors reach.
_ALIGNMENT = 64


def aligned(array: np.ndarray) -> np.ndarray:
    """The same array where its address does not decide in which order its numbers are added up.

    What comes over a network lies anywhere, and vectorised sums begin at the next round address.
    """
    if array.ctypes.data % _ALIGNMENT == 0 and array.flags.c_contiguous:
        return array
    room = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    placed = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed


@dataclass(frozen=True)
class Reference:
    """What losses on a batch are told from, and what the network makes of it while nothing is changed, which loses
    something by itself where it is told from another."""

    outputs: Values
    unchanged: Values
    losses: Sequence[float] = ()

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return _size(self.outputs) + (0 if self.unchanged is self.outputs else _size(self.unchanged))


class References:
    """What the original makes of the batches, kept while there is room: many combinations are compared with it."""

    def __init__(self, network: Network, loss: Loss) -> None:
        self._network, self._loss = network, loss
        self._kept: OrderedDict[int, Reference] = OrderedDict()
        self._held = 0

    def of(self, batch: Batch) -> Reference:
        """What is compared with."""
        found = self._kept.get(batch.number)
        if found is None:
            found = self._kept[batch.number] = self._made(batch)
            self._held += found.size
            while self._held > _KEPT_BYTES and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].size
        return found

    def _made(self, batch: Batch) -> Reference:
        outputs = self._network.reference(batch.feed)
        if self._network.told_from is None:
            return Reference(outputs, outputs)
        own = self._network.original(batch.feed)
        return Reference(outputs, own, losses_of(self._loss, outputs, own, batch.labels, batch.samples))


def _size(values: Values) -> int:
    return sum(array.nbytes for array in values.values() if isinstance(array, np.ndarray))


def carried_out(
    references: References,
    network: Network,
    loss: Loss,
    batches: Sequence[Batch],
    wanted: Mapping[Combination, frozenset[int]],
) -> Iterator[Measured]:
    """Measure every combination of `wanted` on its batches.

    Combinations of one block run behind the cut before that block: the original goes from cut to cut once, and every
    choice of the block starts from there. Others run whole, those that are `in_streams` on all frames of a stream in
    order. The numbers do not depend on what else is measured.
    """
    alone: dict[str, list[Combination]] = {}
    whole: list[Combination] = []
    for combination in wanted:
        if behind_a_cut(network, combination):
            alone.setdefault(combination[0][0], []).append(combination)
        else:
            whole.append(combination)
    yield from _alone(references, network, loss, batches, wanted, alone)
    for combination in whole:
        changed = network.together(combination)
        for batch in batches:
            if batch.number in wanted[combination]:
                start = network.start(batch.feed)
                if batch.begins:
                    changed.begin(start, batch.settle)
                outputs = changed.run(start)
                yield _measured(references, loss, combination, batch, outputs)


def _alone(
    references: References,
    network: Network,
    loss: Loss,
    batches: Sequence[Batch],
    wanted: Mapping[Combination, frozenset[int]],
    alone: Mapping[str, Sequence[Combination]],
) -> Iterator[Measured]:
    cuts: list[Values] = [network.start(batch.feed) for batch in batches]
    for name in sorted(alone, key=network.place):
        names = network.cut(name)
        forward = network.between(cuts[0], names)
        for number, values in enumerate(cuts):
            made = forward.run(values)
            cuts[number] = {value: made[value] if value in made else values[value] for value in names}
        behind: Stretch | None = None
        for combination in alone[name]:
            choice = combination[0][1]
            block: Stretch | None = None
            for values, batch in zip(cuts, batches, strict=True):
                if batch.number not in wanted[combination]:
                    continue
                begun = {**values, **network.handed(name, choice, batch.handed.get(name))}
                block = block or network.block(name, choice, begun)
                known = {**values, **block.run(begun)}
                behind = behind or network.behind(name, known)
                yield _measured(references, loss, combination, batch, behind.run(known))


def _measured(references: References, loss: Loss, combination: Combination, batch: Batch, outputs: Values) -> Measured:
    reference = references.of(batch)
    changed = {**reference.unchanged, **outputs}
    losses = losses_of(loss, reference.outputs, changed, batch.labels, batch.samples)
    if reference.losses:
        losses = [_added(found, own) for found, own in zip(losses, reference.losses, strict=True)]
    return Measured(combination, batch.number, losses)


def _added(loss: float, own: float) -> float:
    """What a change adds to a loss that is there without it."""
    return 0.0 if loss == own else loss - own


def behind_a_cut(network: Network, combination: Combination) -> bool:
    """Whether a combination runs behind a cut: one block, which the network can be cut before."""
    return len(combination) == 1 and network.cuttable(combination[0][0])


def in_streams(network: Network, combination: Combination) -> bool:
    """Whether a combination runs frame after frame, from the first one of a stream on: each gets what the one before
    handed on. Behind a cut it is known beforehand."""
    return carries(combination) and not behind_a_cut(network, combination)


def weight(network: Network, combination: Combination) -> float:
    """About how much of a run of the whole network a measurement takes."""
    if behind_a_cut(network, combination):
        return network.share(combination[0][0])
    return 1.0


def largest_part(network: Network, blocks: Sequence[str], memory: int, batch: int) -> int:
    """How many batches may be on their way together, so that what is held at the cuts stays within `memory` bytes."""
    held = max([network.cut_bytes(name) for name in blocks if network.cuttable(name)], default=1)
    return max(1, memory // max(2 * held * batch, 1))


def only(choice: Choice | None, block: str) -> Combination:
    """The combination that changes one block."""
    return ((block, choice),)
