"""What a fine-tuning came to, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from tse_onnx.conversion.convert import ConvertResult
from tse_onnx.conversion.verdict import Verdict, telling
from tse_onnx.distillation.result import Epoch
from tse_onnx.evaluation.metric import Measured
from tse_onnx.runtime.scores import Score
from tse_onnx.shown import Shown


@dataclass(frozen=True, repr=False)
class FinetuneResult(Shown):
    """A converted model with trained weights, and what they are worth.

    * `conversion`: the conversion that was written, verified: of the model with the trained weights where these are
      `improved`, and otherwise of the one that was given;
    * `weights`: the names of the initializers that were trained, `numbers` how many numbers they have; `left_out`:
      those that were asked for and that the conversion does not hold as they were;
    * `before`, `after`: the scores of each output of the converted model with the weights that were given, and with the
      trained ones, on the samples that `held_out` describes and that nothing was trained or stopped by: against the
      original, both;
    * `metric`: what the user's own metric makes of the original and of both, None where there is none;
    * `start`: the loss of the samples to stop by before anything was trained; `epochs`: how it went on; `best`: the
      number of the epoch whose numbers were taken, 0 for those that were given;
    * `samples`, `stop_samples`: what was trained by, and what told when to stop; `place`: where the training ran.
    """

    conversion: ConvertResult
    improved: bool
    weights: tuple[str, ...]
    numbers: int
    left_out: tuple[str, ...]
    before: tuple[Score, ...]
    after: tuple[Score, ...]
    start: float
    epochs: tuple[Epoch, ...]
    best: int
    samples: str
    stop_samples: str
    held_out: str
    place: str
    metric: Measured | None = None

    @property
    def model(self) -> ModelProto:
        """The converted model."""
        return self.conversion.model

    @property
    def path(self) -> Path | None:
        """The file written, if any."""
        return self.conversion.path

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores of the model that came out."""
        return self.after if self.improved else self.before

    @property
    def verdict(self) -> Verdict:
        """What the model that came out comes to, by the samples that were held out."""
        return replace(self.conversion.report.verdict, accuracy=telling(self.scores), samples=self.held_out)
