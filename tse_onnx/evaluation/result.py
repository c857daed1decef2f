"""What an evaluation found, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tse_onnx.errors import CheckFailed, UsageError
from tse_onnx.evaluation.doubt import doubt
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.scores import Score
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class ModelScores:
    """How far the outputs of one model are from the original's."""

    model: str
    outputs: tuple[Score, ...]

    @property
    def main(self) -> Score | None:
        """The output that is spoken of where there is room for one: the first that looks like classes, or the first."""
        return next((one for one in self.outputs if one.kl is not None), next(iter(self.outputs), None))


@dataclass(frozen=True)
class StageScores:
    """What it costs to convert the blocks of one stage alone: those with maps of the size `extents`.

    `blocks` are the names of the stage's blocks, `converted` how many of them change. `before` and `after` are what
    these blocks buffer by the paper's metric, in elements. `outputs` is empty where nothing changes.
    """

    extents: tuple[int, ...]
    blocks: tuple[str, ...]
    converted: int
    before: int
    after: int
    outputs: tuple[Score, ...]


@dataclass(frozen=True)
class StreamScores:
    """How far the models are from the original on one stream.

    `frames` are the names of its frames in order; `models` has for each model the scores of its outputs over all of
    them, `by_frame` for each model those of each frame.
    """

    stream: str
    frames: tuple[str, ...]
    models: tuple[tuple[Score, ...], ...]
    by_frame: tuple[tuple[tuple[Score, ...], ...], ...]


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """Converted models compared with the original on data.

    `data` tells what the `samples` are, `preprocess` what was done to them (None for arrays), `labelled` whether they
    have labels; `skipped` are the files that could not be read. `stages` is None unless it was asked for,
    `streams` unless the samples are frames. `first_frames` are the models to which every sample was a first frame,
    though they take the gates of the frame before.
    """

    original: str
    data: str
    preprocess: str | None
    samples: int
    labelled: bool
    skipped: tuple[str, ...]
    models: tuple[ModelScores, ...]
    stages: tuple[StageScores, ...] | None = None
    streams: tuple[StreamScores, ...] | None = None
    first_frames: tuple[str, ...] = ()

    def require(
        self,
        *,
        min_agreement: float | None = None,
        max_kl: float | None = None,
        min_sqnr: float | None = None,
        max_loss: float | None = None,
    ) -> None:
        """Raise `CheckFailed` where an output of a model breaks a bound.

        `min_agreement` is a fraction, `max_kl` in nats, `min_sqnr` in decibels, `max_loss` the points of top-1 accuracy
        that may be lost; that is broken as well where the labels fit no output, for then there is nothing to lose.
        Raises `UsageError` where no output has what a bound is for.
        """
        bounds = {"agreement": min_agreement, "kl": max_kl, "sqnr": min_sqnr, "loss": max_loss}
        failures = []
        for name, bound in bounds.items():
            if bound is None:
                continue
            found = [(model.model, score, _measure(name, score)) for model in self.models for score in model.outputs]
            if all(value is None for _, _, value in found):
                missing = "labels" if name == "loss" and self._classes() else "an output that looks like classes"
                raise UsageError(f"a bound on the {_NAMES[name]} needs {missing}")
            failures += [
                f"output {quoted(score.output)} of {model}: {_NAMES[name]} {_said(name, value)}, beyond the bound of "
                f"{_said(name, bound)}"
                for model, score, value in found
                if value is not None and not (value >= bound if name in ("agreement", "sqnr") else value <= bound)
            ]
        labelled = [score for model in self.models for score in model.outputs if score.accuracy is not None]
        if max_loss is not None and all(map(doubt, labelled)):
            failures += [f"the loss of accuracy cannot be judged: {text}" for text in self.doubts]
        if failures:
            raise CheckFailed("; ".join(failures))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the labels, each once."""
        found = (doubt(score) for model in self.models for score in model.outputs)
        return tuple(dict.fromkeys(text for text in found if text is not None))

    def _classes(self) -> bool:
        return any(score.kl is not None for model in self.models for score in model.outputs)


_NAMES = {"agreement": "agreement", "kl": "divergence", "sqnr": "signal-to-noise ratio", "loss": "loss of accuracy"}


def _measure(name: str, score: Score) -> float | None:
    if name == "agreement":
        return score.agreement
    if name == "kl":
        return score.kl
    if name == "sqnr":
        return float("inf") if score.sqnr_db is None else score.sqnr_db
    return None if score.accuracy is None else loss_of(score)


def loss_of(score: Score) -> float:
    """Points of top-1 accuracy that are lost, rounded to what the number of samples can tell."""
    assert score.accuracy is not None
    return 100 * (score.accuracy.lost - score.accuracy.gained) / max(score.samples, 1)


def _said(name: str, value: float) -> str:
    if name == "agreement":
        return f"{100 * value:.2f} %"
    if name == "kl":
        return f"{value:.4g} nats"
    return f"{value:.1f} dB" if name == "sqnr" else f"{value:.2f} points"


def sums_of(stages: Sequence[StageScores]) -> tuple[float | None, float | None]:
    """Points of top-1 and nats that the stages cost one by one, added up; None where they have none."""
    mains = [main for stage in stages if (main := ModelScores("", stage.outputs).main) is not None]
    loss = sum(loss_of(main) for main in mains) if all(main.accuracy for main in mains) else None
    kl = sum(main.kl or 0.0 for main in mains) if all(main.kl is not None for main in mains) else None
    return (loss, kl) if mains else (None, None)
