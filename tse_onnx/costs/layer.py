"""A network layer by layer, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.costs.convention import Convention
from tse_onnx.shown import Shown


@dataclass(frozen=True)
class Layer:
    """One layer, or `repeat` of them that follow each other at one distance and are alike.

    * `name`: of the first one's node; `nodes`: of all, in order; `operator` as ONNX names it;
    * `input`, `output`: dimensions without the batch, [C, H, W] of maps; `kernel`, `stride`, `pads` (the beginning of
      each axis) of a window, empty where there is none; `groups` of a convolution;
    * `parameters`, `macs`: of all repetitions together; `macs` is None where the operator has no rule;
    * `activation_bytes`: the output of one of them; `pass_bytes`: what one leaves in a forward and a backward pass, the
      output and its gradient;
    * `rows_held`: the rows of its output that wait for readers, in a pipeline that streams rows;
    * `dilations` of a window, empty where there is none;
    * `summed`: how many products are added up for an element of the output, 0 where nothing is multiplied;
    * `seconds`: the time of one of them, where it was measured.
    """

    name: str
    nodes: tuple[str, ...]
    operator: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int
    parameters: int
    macs: int | None
    activation_bytes: int
    pass_bytes: int
    rows_held: int | None = None
    summed: int = 0
    seconds: float | None = None
    dilations: tuple[int, ...] = ()

    @property
    def repeat(self) -> int:
        """How many layers these are."""
        return len(self.nodes)


@dataclass(frozen=True)
class Totals:
    """Sums over all layers, repetitions included; parameters that several layers share count once.

    `held_bytes` is what the whole network holds while rows stream in, the figure `min` on the ideal machine. `seconds`
    is the time of a run of the whole network, where it was measured."""

    layers: int
    parameters: int
    macs: int
    activation_bytes: int
    pass_bytes: int
    held_bytes: int
    seconds: float | None = None


@dataclass(frozen=True, repr=False)
class Profile(Shown):
    """The layers of a model under a convention. `order` are the nodes of all layers as they run: those of a layer that
    repeats lie between those of others. `without_rule` are the operators, with how often they occur, whose
    multiply-accumulates are not counted: the totals are then too small."""

    model: str
    convention: Convention
    layers: tuple[Layer, ...]
    totals: Totals
    order: tuple[str, ...] = ()
    without_rule: tuple[tuple[str, int], ...] = ()
