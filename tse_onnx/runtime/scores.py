"""How far the outputs of another model are from the original's, sample by sample and added up.

* Noise is what the other model adds: the squares of the differences, summed, over the squares of the original's values.
* KL is the Kullback-Leibler divergence KL(p ‖ q) = Σ p · log(p / q) in nats, p of the original, q of the other: of
  their softmax, or of their rows as they are where those are probabilities already.

Everything is computed in double precision. Where both models give an infinity or no number alike, nothing differs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, np.ndarray]
Floats = NDArray[np.float64]

# How far from 1 the sum of probabilities may be: half precision, a thousand of them.
_UNIT = 1e-2
# The logarithm of a probability that is zero: single precision knows no smaller one.
_SMALLEST = math.log(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Accuracy:
    """How many samples are classified right, of all that have labels: fractions of the samples.

    `top5` are None for outputs of five classes or fewer. `lost` counts the samples whose first class was right with the
    original and is not any more, `gained` those that it is the other way round. `shifted` has what would be right with
    the original if every label were one less, or one more, out of so many `classes`.
    """

    original_top1: float
    top1: float
    original_top5: float | None
    top5: float | None
    lost: int
    gained: int
    classes: int
    shifted: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Score:
    """How far one output is from the original's, over all samples.

    `max_abs` is the largest absolute difference, `sqnr_db` the signal-to-noise ratio over all samples in decibels: None
    where the outputs are equal, minus infinity where the noise has no bound. `noise` is the mean over the samples of
    noise to signal, `differing` the fraction of the elements that differ, for outputs of integers.

    Where the output looks like classes, floats [N, classes] or [N, classes, 1, 1], `agreement` is the fraction of
    samples with the same first class, and `kl` the mean divergence in nats; `accuracy` needs labels. None otherwise.
    """

    output: str
    samples: int
    max_abs: float
    sqnr_db: float | None
    noise: float
    differing: float | None
    agreement: float | None
    kl: float | None
    accuracy: Accuracy | None


class Meter:
    """Adds up the differences of every output, batch by batch, so that no more than one batch is held."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._sums = {name: _Sum(name) for name in outputs}

    def add(self, original: Outputs, other: Outputs, labels: np.ndarray | None = None) -> None:
        """Take one batch into account; `labels` are the class indices of its samples."""
        for name, total in self._sums.items():
            total.add(original[name], other[name], labels)

    def result(self) -> tuple[Score, ...]:
        """The score of every output that holds numbers."""
        return tuple(total.result() for total in self._sums.values() if total.numeric)


class _Sum:
    def __init__(self, name: str) -> None:
        self.numeric = True
        self._name = name
        self._samples = self._elements = self._differing = 0
        self._largest = self._signal = self._noise = self._relative = self._kl = 0.0
        self._integers = self._classes = True
        self._agreed = self._many = 0
        self._hits = np.zeros(4, np.int64)  # top-1 and top-5 of the original, and of the other
        self._labelled = self._lost = self._gained = 0
        self._shifted = dict.fromkeys((-1, 1), 0)

    def add(self, original: object, other: object, labels: np.ndarray | None) -> None:
        if not (holds_numbers(original) and holds_numbers(other)):
            self.numeric = False  # a sequence, a map, an optional without value, strings
            return
        assert isinstance(original, np.ndarray)
        assert isinstance(other, np.ndarray)
        rows = len(original) if original.ndim else 1
        self._samples += rows
        self._elements += original.size
        self._integers &= _integers(original)
        if original.shape != other.shape:
            self._largest = self._noise = self._relative = math.inf
            self._differing += original.size
            self._classes = False
            return
        difference = _difference(original, other)
        self._largest = max(self._largest, float(np.max(np.abs(difference), initial=0.0)))
        self._differing += int(np.count_nonzero(difference))
        signal, noise = _energy(np.where(np.isfinite(original), original, 0)), _energy(difference)
        self._signal += float(signal.sum())
        self._noise += float(noise.sum())
        self._relative += float(_ratio(noise, signal).sum())
        self._classes &= looks_like_classes(original)
        if self._classes:
            self._classify(_table(original), _table(other), labels)

    def _classify(self, reference: Floats, other: Floats, labels: np.ndarray | None) -> None:
        self._agreed += int(np.sum(reference.argmax(1) == other.argmax(1)))
        self._kl += float(_divergence(reference, other).sum())
        self._many = reference.shape[1]
        if labels is None or not len(labels) or labels.max() >= self._many:
            return
        was, now = _rank(reference, labels), _rank(other, labels)
        self._hits += [np.sum(was == 0), np.sum(was < 5), np.sum(now == 0), np.sum(now < 5)]
        self._labelled += len(labels)
        self._lost += int(np.sum((was == 0) & (now != 0)))
        self._gained += int(np.sum((was != 0) & (now == 0)))
        for offset in self._shifted:
            self._shifted[offset] += int(np.sum(reference.argmax(1) == labels + offset))

    def result(self) -> Score:
        ratio = None if self._noise == 0 else decibels(self._signal, self._noise)
        count = max(self._samples, 1)
        classes = self._classes and self._samples > 0
        return Score(
            output=self._name,
            samples=self._samples,
            max_abs=self._largest,
            sqnr_db=ratio,
            noise=self._relative / count,
            differing=self._differing / max(self._elements, 1) if self._integers else None,
            agreement=self._agreed / count if classes else None,
            kl=self._kl / count if classes else None,
            accuracy=self._accuracy() if classes and self._labelled == self._samples else None,
        )

    def _accuracy(self) -> Accuracy:
        top1, top5, other_top1, other_top5 = (int(hits) / self._labelled for hits in self._hits)
        shifted = tuple((offset, hits / self._labelled) for offset, hits in self._shifted.items())
        five, other_five = (top5, other_top5) if self._many > 5 else (None, None)
        return Accuracy(top1, other_top1, five, other_five, self._lost, self._gained, self._many, shifted)


def looks_like_classes(output: np.ndarray) -> bool:
    """Whether an output has a number for each of several classes: floats [N, classes] or [N, classes, 1, 1]."""
    if output.dtype.kind not in "fV" or output.ndim not in (2, 4) or output.shape[1] < 2:
        return False
    return output.ndim == 2 or output.shape[2:] == (1, 1)


def per_sample_kl(reference: Outputs, other: Outputs) -> Floats:
    """The divergence in nats of each sample [N], summed over the outputs that look like classes.

    Raises `ValueError` where none does.
    """
    names = [name for name, array in reference.items() if holds_numbers(array) and looks_like_classes(array)]
    if not names:
        raise ValueError("no output looks like classes")
    found: Floats = np.sum([_divergence(_table(reference[name]), _table(other[name])) for name in names], axis=0)
    return found


def per_sample_noise(reference: Outputs, other: Outputs) -> Floats:
    """Noise to signal of each sample [N], the mean over the outputs; of an output of integers, as classes or indices,
    the fraction of the elements that differ.

    The first axis of an output is the batch. One that is not as long as the first output's counts for every sample.
    Raises `ValueError` where no output holds numbers.
    """
    noises = list(_noises(reference, other))
    if not noises:
        raise ValueError("no output holds numbers")
    count = len(noises[0])
    found: Floats = np.mean([one if len(one) == count else np.full(count, one.mean()) for one in noises], axis=0)
    return found


def _noises(reference: Outputs, other: Outputs) -> Iterator[Floats]:
    for name, array in reference.items():
        if not (holds_numbers(array) and holds_numbers(other[name])):
            continue
        if array.shape != other[name].shape:
            yield np.full(len(array) if array.ndim else 1, math.inf)
            continue
        difference = _difference(array, other[name])
        if _integers(array):
            yield (_rows(difference) != 0).mean(axis=1) if difference.size else np.zeros(len(difference))
        else:
            yield _ratio(_energy(difference), _energy(np.where(np.isfinite(array), array, 0)))


def decibels(signal: float, noise: float) -> float:
    """10 · log10(signal / noise), minus infinity for noise without bound or no signal at all."""
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


def holds_numbers(value: object) -> bool:
    """Whether an output has numbers that can be compared."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiubV"  # V: bfloat16 and its kin


def _integers(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub"


def _difference(reference: np.ndarray, other: np.ndarray) -> Floats:
    """Other less reference; infinite where only one of them is a number."""
    was, now = reference.astype(np.float64), other.astype(np.float64)
    same = (reference == other) | (np.isnan(was) & np.isnan(now))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(same, 0.0, now - was)
    return np.where(np.isnan(difference), np.inf, difference)


def _rows(array: np.ndarray) -> np.ndarray:
    """A row for each sample."""
    return array.reshape(len(array), math.prod(array.shape[1:])) if array.ndim else array.reshape(1, 1)


def _energy(array: np.ndarray) -> Floats:
    """The sum of squares of each sample."""
    with np.errstate(over="ignore"):
        energy: Floats = np.square(_rows(array).astype(np.float64)).sum(axis=1)
    return energy


def _ratio(noise: Floats, signal: Floats) -> Floats:
    """Noise to signal; without any signal zero or infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise == 0, 0.0, noise / signal)


def _table(array: np.ndarray) -> Floats:
    """Classes as [N, classes]."""
    return array.reshape(array.shape[:2]).astype(np.float64)


def _divergence(reference: Floats, other: Floats) -> Floats:
    """KL(p ‖ q) of each row; infinite where a row holds what is no number."""
    with np.errstate(all="ignore"):
        shares = (_probable(reference) & _probable(other))[:, None]
        p, q = (np.where(shares, _log_shares(rows), _log_softmax(rows)) for rows in (reference, other))
        terms = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q))
        found = terms.sum(axis=1)
    same = ((reference == other) | (np.isnan(reference) & np.isnan(other))).all(axis=1)
    return np.where(same, 0.0, np.where(np.isnan(found) | np.isnan(q).any(axis=1), np.inf, np.maximum(found, 0.0)))


def _probable(rows: Floats) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= _UNIT)
    return found


def _log_shares(rows: Floats) -> Floats:
    shares: Floats = np.log(rows / rows.sum(axis=1, keepdims=True))
    return np.where(rows == 0, _SMALLEST, shares)


def _log_softmax(rows: Floats) -> Floats:
    centred = rows - rows.max(axis=1, keepdims=True)
    found: Floats = centred - np.log(np.exp(centred).sum(axis=1, keepdims=True))
    return found


def _rank(rows: Floats, labels: np.ndarray) -> NDArray[np.int64]:
    """How many classes come before the labelled one, the earlier of equal ones first; all where one is no number."""
    own = np.take_along_axis(rows, labels[:, None], axis=1)
    earlier = np.arange(rows.shape[1])[None, :] < labels[:, None]
    rank: NDArray[np.int64] = ((rows > own) | ((rows == own) & earlier)).sum(axis=1)
    return np.where(np.isnan(rows).any(axis=1), rows.shape[1], rank)
