"""Which layers stay in float: those that are named, and those that lose most where they alone are quantised."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from onnx import ModelProto

from tse_onnx.conversion.verdict import telling
from tse_onnx.data.samples import Samples
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import CheckFailed, UsageError
from tse_onnx.evaluation.run import Contender, compare
from tse_onnx.files.source import Source
from tse_onnx.layerwise.bench import Progress
from tse_onnx.layerwise.noise import noise_in
from tse_onnx.passes.settings import setting
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import Ranges
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject
from tse_onnx.runtime.scores import Score
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)

_NUMBER = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Wish:
    """What is to stay in float: layers by name, so many of those that lose most, or as few of these as keep the loss
    within a bound. Raises `UsageError` for a number or a bound that makes no sense."""

    names: frozenset[str] = frozenset()
    count: int = 0
    loss: float | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise UsageError(f"{setting('keep')} is a number of layers, not {self.count}")
        if self.loss is not None and not 0 <= self.loss < float("inf"):
            raise UsageError(f"{setting('keep_loss')} is a loss of zero or more, not {self.loss}")
        if self.loss is not None and self.count:
            raise UsageError(f"a number of layers to keep and {setting('keep_loss')} exclude each other")

    @classmethod
    def of(cls, keep: int | str | Collection[str | int], loss: float | None, subject: Subject) -> Wish:
        """What a caller said of a subject: a number, a name, or several names, of which one may be a number. Digits are
        a name where there is a layer of that name, as exporters have them. Raises `UsageError` for an unknown name."""
        said = (keep,) if isinstance(keep, (int, str)) else tuple(keep)
        counts, names = list[int](), set[str]()
        for one in said:
            if isinstance(one, str) and (subject.has(one) or not _NUMBER.fullmatch(one)):
                names.add(one)
            else:
                counts.append(int(one))
        if len(counts) > 1:
            raise UsageError(f"{counts[0]} and {counts[1]} are both said to be the number of layers to keep")
        return cls(subject.named(names), sum(counts), loss)

    @property
    def measures(self) -> bool:
        """Whether it takes a measurement."""
        return bool(self.count) or self.loss is not None


@dataclass(frozen=True)
class Kept:
    """The layers that stay in float, by name. `shares` are the noise of each layer alone as a part of that of the whole
    quantised network, by name, where that was measured; `worst` those that were kept for it, the worst first."""

    names: frozenset[str]
    worst: tuple[str, ...] = ()
    shares: Mapping[str, float | None] = field(default_factory=dict)


def kept_layers(
    wish: Wish,
    source: Source,
    subject: Subject,
    ranges: Ranges,
    scheme: Scheme,
    samples: Samples,
    shapes: InputShapes,
    threads: int,
    told: Progress,
) -> Kept:
    """Those that are wished for; measured on the `samples` that the ranges are from.

    Raises `UsageError` for as many layers as there are, and `CheckFailed` where no number of them keeps the bound.
    """
    named = wish.names
    rest = len(subject.layers) - len(named)
    if wish.count and wish.count >= rest:
        raise UsageError(f"{subject.title} has {rest} layers to quantise: {wish.count} of them cannot stay in float")
    if not wish.measures or not rest:
        return Kept(named)

    def model(also: Collection[str] = ()) -> ModelProto:
        return quantised(subject, ranges, replace(scheme, keep=named | set(also)))

    whole = model()
    with phase(_log, "measuring what each layer loses"):
        found = noise_in(source, Source(whole, name="the quantised model"), samples, shapes, threads, told)
    shares = {layer.node: found.share(layer.quantised) for layer in found.layers}
    ranking = [name for name in found.ranking if name in subject.layers and name not in named]
    if wish.loss is None:
        worst = tuple(ranking[: wish.count])
        return Kept(named | set(worst), worst, shares)
    bound, reference = wish.loss, Contender.of(source)

    def loss(count: int) -> float:
        told("finding layers to keep", count, len(ranking))
        contender = Contender("the quantised model", model(ranking[:count]))
        return _loss(compare(reference, [contender], samples, threads, None, False)[0])

    low, high = -1, len(ranking) - 1  # the loss of `low` is over the bound, that of `high` within it
    with phase(_log, "finding the fewest layers to keep"):
        if (least := loss(high)) > bound:
            raise CheckFailed(
                f"with all layers but one in float the loss is {least:.3g}, more than the bound of {bound:g}"
            )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if loss(middle) <= bound else (middle, high)
    worst = tuple(ranking[:high])
    return Kept(named | set(worst), worst, shares)


def _loss(scores: tuple[Score, ...]) -> float:
    """The divergence of the output that looks like classes, else the mean noise of all outputs."""
    score = telling(scores)
    if score is not None and score.kl is not None:
        return score.kl
    return sum(one.noise for one in scores) / max(1, len(scores))
