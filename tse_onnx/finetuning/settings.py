"""What a fine-tuning is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from tse_onnx.data.given import PathLike
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import UsageError
from tse_onnx.finetuning.parameters import ALL
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.machines import MachineLike, machine_of

if TYPE_CHECKING:
    from tse_onnx.distillation.losses import LossLike

Progress = Callable[[str, float, float], None]
"""Called with what is being done, how much of it is done and how much there is."""

_VIEWS = 1000
"""Views in an epoch, where there are fewer samples than that."""


class Options(TypedDict, total=False):
    """The options of `finetune`.

    * `train`: what is trained: "excite", the weights of the excites that the plan cuts; "norms", scales and offsets of
      normalisations and the biases of convolutions; "all" weights; names of initializers, or patterns of names;
    * `epochs`, `steps`: how often so many steps are done; without `steps` an epoch shows as many views as there are
      samples, and 1000 at the least; `batch`: views in one step;
    * `lr`: how far a number moves in one step at first, relative to the size of its tensor; it falls along half a
      cosine;
    * `patience`: after so many epochs that are no better than the best the training ends;
    * `label_weight`: the share that the labels have of the loss, 0 to 1: 0 is distillation from the original alone;
    * `losses`: what counts of an output, by name: "kl", "kl:AXIS", "mse", "l1", "none", or a function of torch's
      tensors; without one, the divergence of classes and the error of everything else;
    * `feature_weight`: that of the error of what the blocks make;
    * `vary`: whether crops and mixtures of samples are shown, or the samples as they are;
    * `held_out`: the part of the samples that is not trained on; `stop`: the part of these that tells when to stop,
      where the others are for the verdict;
    * `seed`: that of the split and of the views;
    * `device`: torch's name of it, "auto" for a GPU where there is one; `precision`: "float32", "bfloat16", "float16",
      or "auto" for the least that a GPU has, and float32 elsewhere;
    * `input_shapes`, `kinds`: those of `find_blocks`;
    * `machine`: what the verdict counts the whole network on, as `dataflow` takes it;
    * `threads`: those of torch and onnxruntime, 0 for as many as there are processors;
    * `checkpoint`: the file in which the training is kept, and from which it goes on; None keeps nothing;
    * `progress`: called while the work goes on.
    """

    train: Collection[str]
    epochs: int
    steps: int | None
    batch: int
    lr: float
    patience: int
    label_weight: float
    losses: Mapping[str, LossLike]
    feature_weight: float
    vary: bool
    held_out: float
    stop: float
    device: str
    precision: str
    input_shapes: InputShapes | None
    kinds: Collection[str]
    machine: MachineLike | None
    threads: int
    checkpoint: PathLike | None
    progress: Progress | None


@dataclass(frozen=True)
class Settings:
    """The same with its defaults, checked; `hardware` is what `machine` means. Raises `UsageError`."""

    train: Collection[str] = (ALL,)
    epochs: int = 5
    steps: int | None = None
    batch: int = 32
    lr: float = 0.002
    patience: int = 2
    label_weight: float = 0.0
    losses: Mapping[str, LossLike] = field(default_factory=dict)
    feature_weight: float = 0.5
    vary: bool = True
    held_out: float = 0.5
    stop: float = 0.3
    device: str = "auto"
    precision: str = "auto"
    input_shapes: InputShapes | None = None
    kinds: Collection[str] = DEFAULT_KINDS
    machine: MachineLike | None = None
    threads: int = 0
    checkpoint: PathLike | None = None
    progress: Progress | None = None
    hardware: Machine = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hardware", machine_of(self.machine))
        if isinstance(self.train, str):
            object.__setattr__(self, "train", (self.train,))
        for name, least in (("epochs", 1), ("steps", 1), ("batch", 1), ("patience", 1), ("threads", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is {least} or more, not {value}")
        if not 0 < self.lr <= 1:
            raise UsageError(f"a learning rate is above 0 and at most 1, not {self.lr}")
        if not 0 <= self.label_weight <= 1:
            raise UsageError(f"the labels have a share from 0 to 1 of the loss, not {self.label_weight}")
        if not 0 <= self.feature_weight < float("inf"):
            raise UsageError(f"a weight of the features is zero or more, not {self.feature_weight}")
        for name in ("held_out", "stop"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} is a fraction between 0 and 1, not {getattr(self, name)}")

    def course(self, samples: int) -> Course:
        """How the training goes on so many samples."""
        steps = self.steps or -(-max(samples, _VIEWS if self.vary else 0) // self.batch)
        return Course(self.epochs, steps, self.batch, self.lr, self.patience, self.progress)

    def say(self, what: str, done: float, total: float) -> None:
        """Tell the caller how far the work is."""
        if self.progress is not None:
            self.progress(what, done, total)


@dataclass(frozen=True)
class Course:
    """`epochs` of `steps` steps, each on `step` views, at a `rate` that falls; it ends after `patience` epochs that are
    no better than the best."""

    epochs: int
    steps: int
    step: int
    rate: float
    patience: int
    progress: Progress | None = None

    def say(self, what: str, done: float, total: float) -> None:
        """Tell the caller how far the training is."""
        if self.progress is not None:
            self.progress(what, done, total)
