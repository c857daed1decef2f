"""Whether training was worth it: by onnxruntime, on samples set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tse_onnx.data.samples import Samples
from tse_onnx.runtime.scores import Meter, Score
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.network import Network, Whole

Say = Callable[[str, float, float], None]


def judged(network: Network, opened: Sequence[Whole], samples: Samples, say: Say) -> list[tuple[Score, ...]]:
    """The scores of converted models on samples that had no part in the training, run by onnxruntime as written."""
    meters = [Meter(network.outputs) for _ in opened]
    batches = Batches(samples)
    for batch in batches:
        say("judging", batch.number, len(batches.numbers))
        reference = network.original(batch.feed)
        for meter, stretch in zip(meters, opened, strict=True):
            meter.add(reference, stretch.run(network.start(batch.feed)), batch.labels)
    return [meter.result() for meter in meters]


def better(after: Iterable[Score], before: Iterable[Score]) -> bool:
    """Whether the outputs are nearer: by the divergence where they are classes, else by the noise."""
    return _apart(after) < _apart(before)


def _apart(scores: Iterable[Score]) -> float:
    scores = tuple(scores)
    divergences = [score.kl for score in scores if score.kl is not None]
    return sum(divergences) if divergences else sum(score.noise for score in scores)
