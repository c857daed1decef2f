"""What a distillation came to, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import ModelProto

from tse_onnx.conversion.verdict import Verdict
from tse_onnx.decision.plan import Plan
from tse_onnx.runtime.scores import Score
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class Epoch:
    """How far the training was: `loss` of the views since the last one, `stop_loss` of the samples to stop by."""

    number: int
    loss: float
    stop_loss: float


@dataclass(frozen=True, repr=False)
class DistilResult(Shown):
    """A plan with trained numbers, and what that is worth.

    * `plan`: what `convert` takes: the plan that was given, with new calibrations where they are `improved`;
    * `model`: the model to convert by the plan, where excites were trained: a copy of the one that was given, with the
      trained weights under the names that they had where they are `improved`; None where only the plan was trained;
    * `trained`: the names of the blocks that were trained, `numbers` how many numbers they have; `excites`: the names
      of those whose weights are among them;
    * `before`, `after`: the scores of each output with the plan that was given, and with the trained numbers, on the
      samples that `held_out` describes and that nothing was trained or stopped by;
    * `start`: the loss of the samples to stop by before anything was trained; `epochs`: how it went on; `best`: the
      number of the epoch whose numbers were taken, 0 for those that were given;
    * `samples`, `stop_samples`: what was trained by, and what told when to stop;
    * `verdict`: what the plan that came out comes to, by these samples.
    """

    plan: Plan
    improved: bool
    trained: tuple[str, ...]
    numbers: int
    before: tuple[Score, ...]
    after: tuple[Score, ...]
    start: float
    epochs: tuple[Epoch, ...]
    best: int
    samples: str
    stop_samples: str
    held_out: str
    verdict: Verdict
    model: ModelProto | None = field(default=None, repr=False)
    excites: tuple[str, ...] = ()

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores of the plan that came out."""
        return self.after if self.improved else self.before
