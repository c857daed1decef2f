"""What the dataflow model says of a network, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tse_onnx.shown import Shown
from tse_onnx.streaming.depths.held import Held, Sums
from tse_onnx.streaming.network.machine import Machine

GATE, SKIP, LINE, STREAM = "gate", "skip", "line", "stream"
KINDS: Mapping[str, str] = {
    GATE: "held by a scale until its gate is known",
    SKIP: "held longer than its readers' windows: one of them waits for another branch",
    LINE: "the window of a convolution, pooling or resize",
    STREAM: "one row, on its way to the next stage",
}
FIGURES = ("gate", "asap", "min", "no_stall")
BOUND = "bound"


@dataclass(frozen=True)
class Buffer:
    """One tensor between two stages, or the part of it that is stored for one reader.

    * `tensor`, `maker`, `readers`: the value's name, and labels of the nodes that make and read it; `reader` is the
      node that this FIFO serves, None where the tensor is stored once for all;
    * `shape` [N, C, H, W] or as the graph has it, `dtype` as ONNX names it, `height` the rows it comes in,
      `row_elements` elements of one row of one image, `window` the rows that its readers need by themselves;
    * `gate`: the paper's metric where a gate scales this tensor, None elsewhere; `asap`, `min`, `no_stall`: what it
      holds, see docs/dataflow.md;
    * `kind`: a key of `KINDS`; `why`: a sentence, where it holds more than its window.
    """

    tensor: str
    reader: str | None
    maker: str
    readers: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    height: int
    row_elements: int
    window: int
    kind: str
    gate: Held | None
    asap: Held
    min: Held
    no_stall: Held
    why: str | None

    @property
    def name(self) -> str:
        """The tensor, and the reader that it is stored for."""
        return self.tensor if self.reader is None else f"{self.tensor} for {self.reader}"


@dataclass(frozen=True)
class StageFlow:
    """One stage: `fill` are the rows of the largest input that come before its first row, `rate` the rows that it makes
    per input row, `accumulators` the elements that it sums up in, `barrier` why it needs all rows ("" where not);
    `macs` its multiply-accumulates for an image, `cycles` what it takes for one where the machine says so."""

    label: str
    output: str
    fill: int
    rate: float
    accumulators: int
    barrier: str
    macs: int = 0
    cycles: int | None = None


@dataclass(frozen=True)
class Payoff:
    """A block whose map is made twice: what the network holds at `min` with all of the map held instead of the value
    `held` (`before`), and as it is (`after`)."""

    block: str
    held: str
    before: Sums
    after: Sums

    @property
    def pays(self) -> bool:
        """Whether the network holds less for it."""
        return self.after.elements < self.before.elements


@dataclass(frozen=True)
class Spilled:
    """A tensor in external memory, or the part of it for one `reader`: what it holds `before`, what is `kept` of that,
    and the bytes that are `written` and `read` for an image."""

    tensor: str
    reader: str | None
    before: Held
    kept: Held
    written: int
    read: int


@dataclass(frozen=True)
class Spill:
    """What of a network goes out of a memory of so many bytes: it has `needed` bytes at `min`, and `held` without the
    `tensors` that are spilled, at the least bandwidth for the size."""

    memory: int
    needed: int
    held: int
    tensors: tuple[Spilled, ...]

    @property
    def fits(self) -> bool:
        """Whether the rest is held in the memory; it is not, where all that can be spilled is too little."""
        return self.held <= self.memory

    @property
    def written(self) -> int:
        """Bytes that are written for an image."""
        return sum(each.written for each in self.tensors)

    @property
    def read(self) -> int:
        """Bytes that are read for an image."""
        return sum(each.read for each in self.tensors)


@dataclass(frozen=True)
class Time:
    """The cycles from one image to the next, which are those that the `slowest` stage works on it; and from when the
    first row of one comes until all is done."""

    interval: int
    slowest: str
    latency: int


@dataclass(frozen=True, repr=False)
class Dataflow(Shown):
    """The rows that a network holds while its input streams in, row by row.

    `buffers` are in the order of the graph; `totals` has a sum per figure, and as `bound` what no schedule goes below
    (`min` is the least wherever the two meet); `kinds` per kind of buffer and figure (of
    which `gate` is the paper's metric and is counted in no other sum); `accumulators` and `weights`, the
    constants of every stage, are beside all of them. `unknown` names the operators that the model does not know and
    takes for barriers; `fill` the input rows before the first row of each output of the graph; `payoffs` say what each
    recomputed block is worth, `spill` what does not fit in the machine's memory,
    `latency` the cycles that an image takes, where the machine says what its stages do in one; `axis` the spatial axis
    that maps stream along: by columns, what is called a row is a column.
    """

    model: str
    machine: Machine
    height: int
    buffers: tuple[Buffer, ...]
    stages: tuple[StageFlow, ...]
    totals: Mapping[str, Sums]
    kinds: Mapping[str, Mapping[str, Sums]]
    accumulators: Sums
    unknown: tuple[str, ...]
    fill: Mapping[str, int]
    weights: Sums
    payoffs: tuple[Payoff, ...] = ()
    spill: Spill | None = None
    latency: int | None = None
    axis: int = 0

    @property
    def contributors(self) -> tuple[Buffer, ...]:
        """The buffers that hold most at `min`, first."""
        return tuple(sorted(self.buffers, key=lambda buffer: -buffer.min.bytes))

    @property
    def time(self) -> Time | None:
        """How often an image can come, and how long it takes; None where the machine says nothing of cycles."""
        timed = [(stage.cycles, stage.label) for stage in self.stages if stage.cycles is not None]
        return Time(*max(timed, key=lambda each: each[0]), self.latency) if timed and self.latency is not None else None

    @property
    def barriers(self) -> tuple[StageFlow, ...]:
        """The stages that need all rows of an input before they make one."""
        return tuple(stage for stage in self.stages if stage.barrier)

    def of(self, tensor: str) -> Buffer:
        """The buffer of a tensor; the first, where it has one per reader. A KeyError if there is none."""
        for buffer in self.buffers:
            if buffer.tensor == tensor:
                return buffer
        raise KeyError(tensor)
