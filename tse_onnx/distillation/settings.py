"""What a distillation is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypedDict

from tse_onnx.data.given import PathLike
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import UsageError
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.machines import MachineLike, machine_of

Progress = Callable[[str, float, float], None]
"""Called with what is being done, how much of it is done and how much there is."""


EXCITE = "excite"
TRAINABLE = (EXCITE,)
"""What is trained where it is asked for; slopes and offsets always are."""


class Options(TypedDict, total=False):
    """The options of `distil`.

    * `epochs`: how often `views` views of the samples are gone through, `step` of them at a time; no view is shown
      twice;
    * `rate`: how far a number moves in one step at first, relative to the size of its tensor;
    * `train`: what is trained beside slopes and offsets: "excite", the weights of the excites;
    * `held_out`: the part of the samples that is not trained on, the same that `tune` does not choose by; `stop`: the
      part of these that tells when to stop, where the others are for the verdict;
    * `input_shapes`, `kinds`: those of `find_blocks`;
    * `machine`: what the verdict counts the whole network on, as `dataflow` takes it;
    * `threads`: those of torch and onnxruntime, 0 for as many as there are processors;
    * `checkpoint`: the file in which the training is kept, and from which it goes on; None keeps nothing;
    * `progress`: called while the work goes on.
    """

    epochs: int
    views: int
    step: int
    rate: float
    train: Collection[str]
    held_out: float
    stop: float
    input_shapes: InputShapes | None
    kinds: Collection[str]
    machine: MachineLike | None
    threads: int
    checkpoint: PathLike | None
    progress: Progress | None


@dataclass(frozen=True)
class Settings:
    """The same with its defaults, checked; `hardware` is what `machine` means. Raises `UsageError`."""

    epochs: int = 3
    views: int = 1000
    step: int = 32
    rate: float = 0.02
    train: Collection[str] = ()
    held_out: float = 0.5
    stop: float = 0.3
    input_shapes: InputShapes | None = None
    kinds: Collection[str] = DEFAULT_KINDS
    machine: MachineLike | None = None
    threads: int = 0
    checkpoint: PathLike | None = None
    progress: Progress | None = None
    hardware: Machine = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hardware", machine_of(self.machine))
        for name, least in (("epochs", 1), ("views", 1), ("step", 1), ("threads", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {least} or more, not {getattr(self, name)}")
        if not 0 < self.rate <= 1:
            raise UsageError(f"a rate is above 0 and at most 1, not {self.rate}")
        for name in self.train:
            if name not in TRAINABLE:
                raise UsageError(f"there is no {name!r} to be trained; there is {', '.join(TRAINABLE)}")
        for name in ("held_out", "stop"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} is a fraction between 0 and 1, not {getattr(self, name)}")

    @property
    def excites(self) -> bool:
        """Whether the weights of excites are trained."""
        return EXCITE in self.train

    @property
    def patience(self) -> int:
        """After so many epochs in a row that are no better than the best, training stops."""
        return 2

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return -(-self.views // self.step)

    def say(self, what: str, done: float, total: float) -> None:
        """Tell the caller how far the work is."""
        if self.progress is not None:
            self.progress(what, done, total)
