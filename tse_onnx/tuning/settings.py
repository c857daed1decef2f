"""What sensitivity and tuning are asked for, beside the budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

from tse_onnx.conversion.verdict import MIN
from tse_onnx.costs.array import Array
from tse_onnx.costs.arrays import ArrayLike, array_of
from tse_onnx.data.given import PathLike
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import UsageError
from tse_onnx.installation.extras import need
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.passes.settings import setting
from tse_onnx.passes.targets.target import Target
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.machines import MachineLike, machine_of
from tse_onnx.targets.target_file import TargetLike, target_of
from tse_onnx.tuning.choices import Menu
from tse_onnx.tuning.losses import AUTO, Loss

Progress = Callable[[str, float, float], None]
"""Called with what is being done, how much of it is done and how much there is."""

ROWS, COLUMNS, BOTH = "rows", "columns", "both"
AXES: Mapping[str, tuple[int, ...]] = {ROWS: (0,), COLUMNS: (1,), BOTH: (0, 1)}
"""The spatial axes that maps may stream along."""

CONSTANT, ANY, NEVER = "constant", "any", "never"
FREEZES = {
    CONSTANT: "gates that hardly move on the data",
    ANY: "every gate, at the loss that this has",
    NEVER: "none",
}
MEMORY = 2**30


class Options(TypedDict, total=False):
    """The options that `sensitivity` and `tune` share.

    * `input_shapes`, `kinds`: those of `find_blocks`;
    * `loss`: kl, noise, top1, auto, or a function from the original's outputs, the changed network's and the labels of
      a batch to a number, or to one for each of its samples;
    * `figure`: what is counted as buffer: what the whole network holds (`min`, `asap`) on `machine`, which is a
      `Machine`, a preset's name or a TOML file, or what its scales hold (`gate`);
    * `axis`: whether maps stream by `rows` or by `columns`; `both` are tried by `tune`, which takes the better one;
    * `settle`: with frames, whether the first one of each stream is run until its gates are its own;
    * `menu`: which tilings are offered; `freeze`: which gates are offered as constants: `constant` those that move by
      no more than the fraction `still` of their size, `any`, or `never`;
    * `quantise`: the operators that are brought to eight bits, `convolutions` or `all`, or a `Scheme`, with ranges from
      the samples to choose by: losses are then those of the quantised network;
    * `array`: an array of processing elements, by name, as a TOML file or as an `Array`: what each choice adds to the
      network's cycles on it is counted;
    * `target`: a compiler or device, by name, as a TOML file or as a `Target`: what it takes in no form is not offered;
    * `threads`: those of onnxruntime; `memory`: about how many bytes may be held where the network is cut;
    * `cache`: the folder in which measurements are kept (True: the user's folder for caches; False: nowhere). Those of
      a function are not kept;
    * `workers`: how many processes to start; `scheduler`: the address of a Dask scheduler. Both need Dask, and give the
      same numbers;
    * `progress`: called while the work goes on.
    """

    input_shapes: InputShapes | None
    kinds: Collection[str]
    loss: str | Loss
    figure: str
    machine: MachineLike | None
    axis: str
    settle: bool
    menu: Menu
    freeze: str
    still: float
    quantise: str | Scheme | None
    array: ArrayLike | None
    target: TargetLike | None
    threads: int
    memory: int
    cache: PathLike | bool
    workers: int | None
    scheduler: str | None
    progress: Progress | None


@dataclass(frozen=True)
class Settings:
    """The same with its defaults, checked; `hardware` is what `machine` means, `within` what `target` does, `elements`
    what `array` does, `scheme` what `quantise` does. Raises `UsageError`."""

    input_shapes: InputShapes | None = None
    kinds: Collection[str] = DEFAULT_KINDS
    loss: str | Loss = AUTO
    figure: str = MIN
    machine: MachineLike | None = None
    axis: str = ROWS
    settle: bool = False
    menu: Menu = field(default_factory=Menu)
    freeze: str = CONSTANT
    still: float = 0.01
    quantise: str | Scheme | None = None
    array: ArrayLike | None = None
    target: TargetLike | None = None
    threads: int = 0
    memory: int = MEMORY
    cache: PathLike | bool = True
    workers: int | None = None
    scheduler: str | None = None
    progress: Progress | None = None
    hardware: Machine = field(init=False)
    within: Target | None = field(init=False)
    elements: Array | None = field(init=False)
    scheme: Scheme | None = field(init=False)

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise UsageError(f"maps stream along {', '.join(AXES)}, not {self.axis!r}")
        if self.freeze not in FREEZES:
            raise UsageError(f"gates are frozen {', '.join(FREEZES)}, not {self.freeze!r}")
        if self.workers is not None and self.scheduler is not None:
            raise UsageError("workers are started here, or a scheduler has them; not both")
        if self.workers is not None or self.scheduler is not None:
            need("dask")
        object.__setattr__(self, "hardware", machine_of(self.machine))
        object.__setattr__(self, "within", None if self.target is None else target_of(self.target))
        object.__setattr__(self, "elements", None if self.array is None else array_of(self.array))
        asked = self.quantise
        object.__setattr__(self, "scheme", Scheme(operators=asked) if isinstance(asked, str) else asked)
        for name, least in (("workers", 1), ("memory", 1), ("threads", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is {least} or more, not {value}")

    def on(self, frames: bool) -> Settings:
        """The same for frames of streams, or for samples on their own. Raises `UsageError` where it asks for what only
        frames have."""
        if self.settle and not frames:
            raise UsageError(
                f"samples on their own have no first frame to settle: {setting('settle')} goes with {setting('frames')}"
            )
        return replace(self, menu=self.menu.on(frames))
