"""Recompute: hold the narrow value that a wide map is made from, and make the map twice.

The first copy streams into the mean and is never stored; the second is made when the gate is known. Weights, function
and numbers stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import Buffers, Choice, Settled, Site
from tse_onnx.passes.graph.held import held_type
from tse_onnx.passes.reasons import Refusal, quoted

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Block, Convertible, Tiled
    from tse_onnx.passes.graph.upstream import Upstream

RECOMPUTE: Final = "recompute"


@dataclass(frozen=True)
class Recompute(Choice):
    """A map that is made twice. `held` is the value that waits for the gate instead; None is the one with the fewest
    elements. With `cascade` it is written for compilers that run layers in cascades, row by row: the mean of each row
    first, so that no row of the copy has to stay, and the scale's map before its gate."""

    held: str | None = None
    cascade: bool = False

    squeezes: ClassVar[Mapping[str, str]] = {
        RECOMPUTE: "the narrow value that the map is made from is held, and the map made twice"
    }
    examples: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{ squeeze = "recompute" }', "holds the narrow value that its map is made from, and makes the map twice"),
        ('{ squeeze = "recompute", cascade = true }', "the same, for compilers that run layers in cascades"),
    )
    exact: ClassVar[bool] = True
    any_size: ClassVar[bool] = True
    done: ClassVar[str] = "recomputed"
    opens: ClassVar[str] = "takes the mean of each channel of a copy of"

    def __post_init__(self) -> None:
        if self.held is not None and not (isinstance(self.held, str) and self.held):
            raise UsageError(f"what is held is the name of a value, not {self.held!r}")
        if not isinstance(self.cascade, bool):
            raise UsageError(f"a recomputed block is written for cascades or not, not {self.cascade!r}")

    def __str__(self) -> str:
        return "a map that is made twice" + (f", from {quoted(self.held)}" if self.held else "")

    @property
    def words(self) -> str:
        """What is held, where that was decided."""
        return "recompute" + (f" from {self.held}" if self.held else "")

    @property
    def already(self) -> str:
        """What is said of a block whose map is made twice."""
        return "recomputed already" + (f", from {quoted(self.held)}" if self.held else "")

    def settle(self, block: Convertible, site: Site) -> Settled | Refusal:
        """The copies, and what is held instead of the map; refused where nothing narrower is there."""
        ways = self.ways(block, site)
        return ways if isinstance(ways, Refusal) else settled(ways[0])

    def ways(self, block: Convertible, site: Site) -> tuple[Recomputed, ...] | Refusal:
        """Every value that could be held, the one with the fewest elements first; each further one has more of them
        and takes fewer multiply-accumulates."""
        whole = whole_map(block)
        if whole is None:
            return Refusal("shape", f"the size of {quoted(block.input)} cannot be inferred")
        if self.held is not None and self.held not in site.names:
            raise UsageError(
                f"the plan holds {quoted(self.held)} in place of the map of {quoted(block.name)}; the model has no "
                "value of that name"
            )
        up = site.upstream(block)
        types, found, least = site.scope.types, list[Recomputed](), whole
        for one in up.values:
            kind = types[one.value]
            elements = _elements(kind.sizes)
            asked = self.held in (None, one.value)
            if asked and elements is not None and elements < least:
                dtype = held_type(one.value, site.scope.index, lambda name: types[name].dtype)
                found.append(Recomputed(one.value, elements, one.macs, dtype, one.nodes, self.cascade))
                least = elements
        return tuple(reversed(found)) or self._refused(block, up, whole)

    def _refused(self, block: Block, up: Upstream, whole: int) -> Refusal:
        if self.held is not None and all(one.value != self.held for one in up.values):
            start = f"{quoted(self.held)} is not what all of {quoted(block.input)} is made from"
        elif self.held is not None:
            start = f"{quoted(self.held)} is no narrower than {quoted(block.input)}, which has {whole:,} elements"
        else:
            start = f"nothing that {quoted(block.input)} is made from is narrower, with fewer than {whole:,} elements"
        return Refusal(RECOMPUTE, f"{start}; on the way up {up.end}: give it rows, or leave it out")

    def found(self, block: Tiled, site: Site) -> Recomputed | None:
        """What a block holds whose map is made twice already."""
        held = self.held or ""
        types = site.scope.types
        elements = _elements(types[held].sizes)
        dtype = held_type(held, site.scope.index, lambda name: types[name].dtype)
        return None if elements is None else Recomputed(held, elements, 0, dtype, cascade=self.cascade)


@dataclass(frozen=True)
class Recomputed:
    """The value `held`, of so many `elements` of type `dtype` for one image, from which the nodes at `nodes` are
    computed once more, which takes `macs` multiply-accumulates; with `cascade` as `Recompute` has it."""

    held: str
    elements: int
    macs: int
    dtype: int
    nodes: tuple[int, ...] = ()
    cascade: bool = False

    def buffers(self, block: Convertible | Tiled) -> Buffers:
        """What waits for the gate is what is held."""
        return Buffers(None, 1, self.elements, self.elements, self.macs, self.held, self.dtype)


def settled(way: Recomputed) -> Settled:
    """The block with this way to recompute its map."""
    return Settled(way, f"holds {quoted(way.held)} instead", choice=Recompute(way.held, way.cascade))


def whole_map(block: Block) -> int | None:
    """The elements of a block's map for one image; None where its size is not known."""
    return _elements((1, block.gates, *block.extents)) if block.extents else None


def _elements(sizes: tuple[int | None, ...] | None) -> int | None:
    """The elements of a value for one image, whatever the batch; None where a size is not known."""
    if sizes is None or None in sizes[1:]:
        return None
    return math.prod(size or 0 for size in sizes[1:])
