"""What a search finds, as data: a block, or a candidate with the reason why it is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.forms.act import Act
from tse_onnx.passes.forms.squeeze import Squeeze
from tse_onnx.passes.reasons import Refusal

SE, ESE, ECA, GATHER_EXCITE, CBAM, SPLIT, GRN = "se", "ese", "eca", "ge", "cbam", "split", "grn"

# Every kind of block that the tiles apply to, with what tells it from the others.
KINDS = {
    SE: "two or more maps that combine channels (squeeze-and-excite)",
    ESE: "one map that combines all channels (effective squeeze-and-excite)",
    ECA: "a window that slides over the channels (efficient channel attention)",
    GATHER_EXCITE: "no map that combines channels (gather-excite without parameters)",
    CBAM: "a mean and a maximum that go through one excite (the channel attention of CBAM)",
    SPLIT: "the mean of a sum of branches, and gates for each of these (split attention, selective kernels)",
    GRN: "a norm over space, divided by its mean over the channels (global response normalisation)",
}


@dataclass(frozen=True)
class NodeRef:
    """A node of the graph: position among its nodes, name ("" where it has none), and first output tensor."""

    position: int
    node: str
    output: str


@dataclass(frozen=True)
class Step:
    """A node on the way from squeeze to gate, and what it makes of the descriptor."""

    position: int
    act: Act


@dataclass(frozen=True)
class Offset:
    """What is added to the scaled map: a `value` that is made of the same means as the gate, by `node`."""

    node: NodeRef
    value: str


@dataclass(frozen=True)
class Product:
    """A map times a gate, which the node at `position` makes."""

    position: int
    gate: str
    map: str


@dataclass(frozen=True)
class Anatomy:
    """The parts of a block, for those that rewrite it.

    `gate` is the value that scales, `map` the value that it scales: the pooled map or a view of it. `root` is the value
    that both views come from, `root_nodes` the nodes in between. The axes strings have one letter per axis: N, C, and
    H, W, D for the spatial axes in order, the first of them being streamed; and R for that of the branches where the
    pooled map is the sum of some: these are what the gate scales. `gate_parts` are then the extents of the axes along
    which the gate lies, in the order that they have in the map.
    """

    squeeze: Squeeze
    steps: tuple[Step, ...]
    gate: str
    map: str
    input_axes: str
    map_axes: str
    root: str
    root_axes: str
    root_nodes: tuple[int, ...] = field(repr=False)
    beside: tuple[Squeeze, ...] = ()
    """Further statistics of the same map that the gate is made of."""
    before_flat: str = ""
    """Where `map` has its pixels along one axis, P in `map_axes`: the map before they were laid out so, whose axes are
    those of the pooled one."""
    gate_parts: tuple[int, ...] = ()
    offset: Offset | None = None
    products: tuple[Product, ...] = ()
    """Each branch times its gate, where these are tensors of their own; `gate`, `map` and `root` are then the first."""

    @property
    def squeezes(self) -> tuple[Squeeze, ...]:
        """All statistics of the map that the gate is made of, the mean first."""
        return (self.squeeze, *self.beside)

    @property
    def squeeze_nodes(self) -> tuple[int, ...]:
        """The positions of the nodes that compute them."""
        return tuple(position for squeeze in self.squeezes for position in squeeze.nodes)

    @property
    def gates(self) -> tuple[str, ...]:
        """The values that scale."""
        return tuple(product.gate for product in self.products) or (self.gate,)

    @property
    def maps(self) -> tuple[str, ...]:
        """The values that are scaled, each by the gate in its place."""
        return tuple(product.map for product in self.products) or (self.map,)

    @property
    def roots(self) -> tuple[str, ...]:
        """The values that the pooled map and those that are scaled come from."""
        return self.maps if self.products else (self.root,)

    def gate_dims(self, numbers: int) -> tuple[int, ...]:
        """The dimensions under which so many numbers of a gate, in their order, meet the map: one for all channels, or
        one for each."""
        parts = iter(self.gate_parts if self.gate_parts and numbers > 1 else (numbers, 1))
        return tuple(next(parts) if letter in "RC" else 1 for letter in self.map_axes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the excite for one descriptor: the paper's F."""
        return sum(step.act.macs for step in self.steps)


@dataclass(frozen=True)
class Block:
    """A global pooling of a model: a block that is `Convertible` or `Tiled`, or `Refused` with the reason why.

    `shape` is that of `input`, with None where a dimension is dynamic; `dtype` is a `TensorProto.DataType`. `scale` and
    `anatomy` are None for what was refused before they were found.
    """

    name: str
    kind: str
    squeeze: NodeRef
    scale: NodeRef | None
    input: str
    shape: tuple[int | None, ...] | None
    dtype: int
    refusal: Refusal | None = None
    path: tuple[Step, ...] = field(default=(), repr=False)
    """The nodes that were followed from the squeeze on, refused or not."""
    anatomy: Anatomy | None = field(default=None, repr=False)
    scope: str = ""
    """Where in the model: "" for the main graph, else the body or the function, in words."""
    tiled: Choice | None = None
    """What an earlier conversion made of the block."""
    branches: int = 1
    """How many maps of this shape one gate scales: those that the pooled one is the sum of."""
    held: int = 0
    """The element type in which a machine holds the map, 0 for its own: of a quantised map that of whole numbers."""

    @property
    def stored(self) -> int:
        """The element type in which the map is held."""
        return self.held or self.dtype

    @property
    def made(self) -> str:
        """The value that the block makes: of its scale, or of what adds an offset to that; "" where it has none."""
        if self.anatomy is not None and self.anatomy.offset is not None:
            return self.anatomy.offset.node.output
        return "" if self.scale is None else self.scale.output

    @property
    def status(self) -> str:
        """`convertible`, what an earlier conversion made of it (`tiled`, `frozen`), or `refused`."""
        if self.refusal:
            return "refused"
        return self.tiled.done if self.tiled else "convertible"

    @property
    def reason(self) -> str | None:
        """Why the block is refused, as a sentence; None where it is convertible."""
        return self.refusal.text if self.refusal else None

    @property
    def channels(self) -> int | None:
        """Channels of the map; None where unknown."""
        if self.shape is None or self.anatomy is None:
            return None
        return self.shape[self.anatomy.squeeze.channel]

    @property
    def gates(self) -> int | None:
        """The numbers of a gate: one for each channel of each branch; None where unknown."""
        return None if self.channels is None else self.channels * self.branches

    @property
    def extents(self) -> tuple[int | None, ...]:
        """Sizes of the map's spatial axes in order (height, width); None where dynamic, () where nothing is known."""
        if self.shape is None or self.anatomy is None:
            return ()
        return tuple(self.shape[axis] for axis in self.anatomy.squeeze.spatial)


@dataclass(frozen=True)
class Convertible(Block):
    """A block that nothing speaks against, and that no conversion changed yet."""

    scale: NodeRef
    anatomy: Anatomy = field(repr=False, kw_only=True)
    refusal: None = field(default=None, init=False)
    tiled: None = field(default=None, init=False)


@dataclass(frozen=True)
class Tiled(Block):
    """A block that an earlier conversion changed; its anatomy holds no more than the map's axes."""

    scale: NodeRef
    anatomy: Anatomy = field(repr=False, kw_only=True)
    refusal: None = field(default=None, init=False)
    tiled: Choice = field(kw_only=True)


@dataclass(frozen=True)
class Refused(Block):
    """A pooling that is not converted, and the reason; as far as it was read, the parts of a block."""

    refusal: Refusal = field(kw_only=True)
    tiled: None = field(default=None, init=False)


Pooling = Convertible | Tiled | Refused
"""What a search returns."""


def convertible(blocks: Iterable[Block]) -> tuple[Convertible, ...]:
    """The blocks that nothing speaks against, and that are not tiled yet."""
    return tuple(block for block in blocks if isinstance(block, Convertible))
