"""Find squeeze-and-excite blocks by what they mean.

A block is a global mean of x, a path from it that acts on the descriptor alone with constant weights, and a Mul of that
path's result with x itself. Which operators say so is the business of `squeeze` and `excite`; this module walks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from onnx import NodeProto
from tse_onnx.passes import excite
from tse_onnx.passes.descriptor import Descriptor
from tse_onnx.passes.index import GraphIndex
from tse_onnx.passes.names import fresh, module_of
from tse_onnx.passes.reasons import Refusal, label, quoted, refuse
from tse_onnx.passes.shapes import Types
from tse_onnx.passes.squeeze import Squeeze, squeeze_at

SE = "se"
# The kind of a block by how many of its operators mix channels; two or more make squeeze-and-excite.
_KINDS = {0: ("gather-excite", "has no convolution"), 1: ("ese", "has a single convolution")}


@dataclass(frozen=True)
class NodeRef:
    """A node of the graph: position among its nodes, name ("" where it has none), and first output tensor."""

    position: int
    node: str
    output: str


@dataclass(frozen=True)
class Block:
    """A global pooling of a model, and the squeeze-and-excite block it opens if `refusal` is None.

    Shapes are (N, C, H, W) with None where a dimension is dynamic; `dtype` is a `TensorProto.DataType`.
    """

    name: str
    kind: str
    squeeze: NodeRef
    scale: NodeRef | None
    input: str
    shape: tuple[int | None, ...] | None
    dtype: int
    refusal: Refusal | None = None
    gate: str = ""
    excite: tuple[int, ...] = ()
    """Positions of the nodes between squeeze and scale, in data-flow order."""
    descriptors: tuple[str, ...] = field(default=(), repr=False)
    """Every value that holds a descriptor, from the squeeze's output to the gate."""
    excite_macs: int = 0
    """Multiply-accumulates of the excite for one descriptor: the paper's F."""

    @property
    def status(self) -> str:
        """`convertible` or `refused`."""
        return "refused" if self.refusal else "convertible"

    @property
    def reason(self) -> str | None:
        """Why the block is refused, as a sentence; None where it is convertible."""
        return self.refusal.text if self.refusal else None


@dataclass
class _Walk:
    """What a walk from a squeeze has seen so far."""

    held: dict[str, Descriptor]
    order: list[int] = field(default_factory=list)
    scales: list[tuple[int, str]] = field(default_factory=list)
    mixers: int = 0
    macs: int = 0


def find(index: GraphIndex, types: Types, opset: int) -> tuple[Block, ...]:
    """Every global pooling of the graph, in node order: the blocks, and what was refused with its reason."""
    found = []
    for position, node in enumerate(index.nodes):
        squeeze = squeeze_at(position, index, types)
        if squeeze is not None:
            found.append(_candidate(node, position, squeeze, index, types, opset))
    return _named(found, index)


def _candidate(
    node: NodeProto, position: int, squeeze: Squeeze | Refusal, index: GraphIndex, types: Types, opset: int
) -> Block:
    at = NodeRef(position, node.name, node.output[0])
    source = types[node.input[0]]
    if isinstance(squeeze, Refusal):
        return Block("", SE, at, None, node.input[0], source.sizes, source.dtype, squeeze)
    walk = _Walk({squeeze.output: squeeze.descriptor})
    refusal = _walk(walk, squeeze, index, types, opset) or _whole(walk, squeeze, index)
    scale = gate = None
    if walk.scales:
        where, gate = walk.scales[0]
        scale = NodeRef(where, index.nodes[where].name, index.nodes[where].output[0])
    kind = _KINDS[walk.mixers][0] if scale is not None and walk.mixers in _KINDS else SE
    if refusal is None and kind != SE:
        refusal = refuse(
            "kind", f"opens a block of kind {kind}: it {_KINDS[walk.mixers][1]} and is left as it is", node
        )
    return Block(
        name="", kind=kind, squeeze=at, scale=scale, input=squeeze.input, shape=source.sizes, dtype=source.dtype,
        refusal=refusal, gate=gate or "", excite=tuple(walk.order), descriptors=tuple(walk.held), excite_macs=walk.macs,
    )  # fmt: skip


def _walk(walk: _Walk, squeeze: Squeeze, index: GraphIndex, types: Types, opset: int) -> Refusal | None:
    """Follow the descriptor through every operator that acts on it, until it scales x; or say where it stops."""
    waiting: dict[int, None] = {}  # operators of which an input is not known to hold a descriptor yet
    reached = [squeeze.output]
    done: set[int] = set()
    refusal = None
    while reached and refusal is None:
        value = reached.pop()
        if value in index.outputs:
            refusal = refuse("output", f"{quoted(value)} is an output of the graph")
            break
        for position in sorted({use.node for use in index.uses(value)}):
            node = index.nodes[position]
            if position in done:
                continue
            if any(use.node == position and use.slot < 0 for use in index.uses(value)):
                refusal = refuse("operator", "reads the descriptor inside a nested graph", node)
                break
            if squeeze.input in node.input:
                done.add(position)
                refusal = _meets_map(walk, node, position, squeeze)
                if refusal:
                    break
                continue
            operands = _operands(walk, node, index, types)
            if operands is None:
                waiting[position] = None
                continue
            done.add(position)
            waiting.pop(position, None)
            act = excite.act(node, operands, opset)
            if isinstance(act, Refusal):
                refusal = act
                break
            walk.order.append(position)
            walk.mixers += act.mixes
            walk.macs += act.macs
            walk.held[node.output[0]] = act.result
            reached.append(node.output[0])
    if refusal is None and waiting:
        refusal = _stranger(index.nodes[min(waiting)], walk, index)
    met = refusal is not None and refusal.code in ("not-mul", "other-tensor")  # a gate, if on the wrong thing
    if refusal is not None and not met and not walk.scales and not _scaled(squeeze.input, index):
        stop = f" ({refusal.text})" if refusal.code in ("operator", "output") else ""
        return refuse("head", f"is never multiplied back onto {quoted(squeeze.input)}: a head, not a gate{stop}",
                      index.nodes[squeeze.node])  # fmt: skip
    return refusal


def _operands(walk: _Walk, node: NodeProto, index: GraphIndex, types: Types) -> tuple[excite.Operand, ...] | None:
    """The inputs of an operator on the way; None while one is neither a descriptor so far nor a constant."""
    operands = []
    for name in node.input:
        held = walk.held.get(name)
        if name and held is None and not index.is_constant(name):
            return None
        dims = types[name].sizes if name and held is None else None
        operands.append(excite.Operand(name, held, dims))
    return tuple(operands)


def _meets_map(walk: _Walk, node: NodeProto, position: int, squeeze: Squeeze) -> Refusal | None:
    """A node reads both a descriptor and x: the scale, if it multiplies the two."""
    others = [name for name in node.input if name != squeeze.input]
    if node.op_type != "Mul" or node.domain not in ("", "ai.onnx") or len(others) != 1:
        return refuse("not-mul", f"meets the pooled tensor {quoted(squeeze.input)}, and only a Mul scales it", node)
    walk.scales.append((position, others[0]))
    return None


def _stranger(node: NodeProto, walk: _Walk, index: GraphIndex) -> Refusal:
    """Why an operator never got all of its inputs: what it reads beside the descriptor comes from elsewhere."""
    other = next(name for name in node.input if name and name not in walk.held and not index.is_constant(name))
    if node.op_type == "Mul":
        return refuse(
            "other-tensor", f"multiplies the gate with {quoted(other)}, not with the tensor that was pooled", node
        )
    return refuse("weights", f"reads {quoted(other)}, which is neither constant nor made from the mean alone", node)


def _scaled(value: str, index: GraphIndex) -> bool:
    return any(index.nodes[use.node].op_type == "Mul" for use in index.uses(value))


def _whole(walk: _Walk, squeeze: Squeeze, index: GraphIndex) -> Refusal | None:
    """Whether what was walked is one block: a single scale, whose gate and whose descriptors serve nothing else."""
    start = index.nodes[squeeze.node]
    if not walk.scales:
        return refuse("head", f"is never multiplied back onto {quoted(squeeze.input)}: a head, not a gate", start)
    if len(walk.scales) > 1:
        listed = " and ".join(label(index.nodes[position]) for position, _ in walk.scales)
        return refuse("shared", f"gates more than once: {listed}", start)
    position, gate = walk.scales[0]
    inside = {position, *walk.order}
    for value in walk.held:
        uses = index.uses(value)
        if value != gate and any(use.node == position for use in uses):
            return refuse("shared", f"scales by {quoted(value)} beside the gate", index.nodes[position])
        if not uses:
            return refuse("shared", f"leads to {quoted(value)}, which nothing reads", start)
        if any(use.node not in inside for use in uses) or (value == gate and len(uses) > 1):
            return refuse("shared", f"shares {quoted(value)} with another reader", start)
    form = walk.held[gate]
    if form.axes != squeeze.descriptor.axes:
        return refuse("operator", "gets a gate that does not lie along the channels", index.nodes[position])
    if form.channels is None or form.channels != squeeze.descriptor.channels:
        wanted = squeeze.descriptor.channels
        return refuse(
            "channels", f"gets a gate of {form.channels} channels for a map of {wanted}", index.nodes[position]
        )
    return None


def _named(blocks: Sequence[Block], index: GraphIndex) -> tuple[Block, ...]:
    """The blocks, each with a name of its own: its module's, or its squeeze's where that is unknown or not unique."""
    own = [block.squeeze.node or block.squeeze.output for block in blocks]
    modules = [
        module_of([index.nodes[position] for position in (block.squeeze.position, *block.excite)])
        if block.excite
        else ""
        for block in blocks
    ]
    counts = Counter(modules)
    taken: set[str] = set()
    return tuple(
        replace(block, name=fresh(module if module and counts[module] == 1 else name, taken))
        for block, module, name in zip(blocks, modules, own, strict=True)
    )


def convertible(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The blocks that nothing speaks against."""
    return tuple(block for block in blocks if block.refusal is None)
