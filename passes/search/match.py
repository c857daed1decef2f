"""Find squeeze-and-excite blocks by what they mean.

A block is a global mean of x, a path from it that acts on the descriptor alone with constant weights, and a Mul of that
path's result with x itself or with a view of it. Which operators say so is the business of `forms`; this module walks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx import NodeProto

from tse_onnx.passes.blocks.block import (
    CBAM,
    ECA,
    ESE,
    GATHER_EXCITE,
    GRN,
    KINDS,
    SE,
    SPLIT,
    Anatomy,
    Block,
    Convertible,
    NodeRef,
    Offset,
    Pooling,
    Product,
    Refused,
    Step,
    Tiled,
)
from tse_onnx.passes.edit.record import Memory
from tse_onnx.passes.edit.tiled import tiled_at
from tse_onnx.passes.forms import excite
from tse_onnx.passes.forms.act import Alias, Operand, OverChannels, Regroup, Site
from tse_onnx.passes.forms.branches import Branches, Parts, Stack, parts_behind, stack_behind, total_of
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.forms.flat import in_one_axis, laid_behind
from tse_onnx.passes.forms.maximum import maximum_at
from tse_onnx.passes.forms.norm import norm_at, partial_norm
from tse_onnx.passes.forms.quantised import SCALES, scaled_by
from tse_onnx.passes.forms.squeeze import MEAN, Found, Squeeze, squeeze_at
from tse_onnx.passes.forms.views import SHAPE_SLOTS
from tse_onnx.passes.graph.held import held_type
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.layout import SPATIAL, View, view
from tse_onnx.passes.graph.operators import is_default, operator
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import Types
from tse_onnx.passes.names import fresh, marked, module_of
from tse_onnx.passes.reasons import Refusal, label, quoted, refuse
from tse_onnx.passes.settings import setting

DEFAULT_KINDS = frozenset({SE})

# onnx and onnxruntime multiply sizes in single precision where a Resize is given scales.
_LARGEST = 2**24


@dataclass(frozen=True)
class _Scale:
    """A Mul of a `gate` with the pooled map, or with a view of it."""

    node: NodeRef
    gate: str
    map: str


@dataclass
class _Walk:
    """What a walk from a squeeze has seen so far."""

    squeeze: Squeeze
    root: View
    held: dict[str, Descriptor]
    steps: list[Step] = field(default_factory=list)
    scales: list[_Scale] = field(default_factory=list)
    beside: tuple[Squeeze, ...] = ()
    branches: Branches | None = None
    sized: list[int] = field(default_factory=list)  # nodes that read a descriptor's shape
    typed: set[int] = field(default_factory=set)  # nodes that cast something else to a descriptor's type
    offset: Offset | None = None


def find(
    scope: Scope, kinds: Collection[str] = DEFAULT_KINDS, taken: set[str] | None = None, memory: Memory | None = None
) -> tuple[Pooling, ...]:
    """Every global pooling of a scope, in node order: the blocks, those tiled already, and what was refused with its
    reason.

    Blocks of other kinds than `kinds` are refused. `taken` are names of other scopes' blocks, to which these are added.
    `memory` is what the model remembers of tiled blocks whose nodes do not any more.
    """
    index, types, opset = scope.index, scope.types, scope.opset
    memory = memory or {}
    found, tiled = list[Convertible | Refused](), list[Tiled]()
    for position in range(len(index.nodes)):
        squeeze = squeeze_at(position, index, types)
        own = tiled_at(position, index, types, memory)
        if own is not None:
            tiled.append(own)
        elif marked(index.nodes[position]):
            continue
        elif (block := _of_norm(position, squeeze, index, types, opset, kinds)) is not None:
            found.append(block)
        elif squeeze is None:
            continue
        elif isinstance(squeeze, Refusal):
            found.append(_pooling(position, squeeze, index, types))
        else:
            block = _read(squeeze, index, types, opset, kinds)
            block = _with_maximum(block, squeeze, index, types, opset, kinds)
            block = _of_branches(block, squeeze, index, types, opset, kinds)
            if not squeeze.tentative or block.scale is not None:
                found.append(block)
    known_excites = _tiled_excites(tiled, index)
    found = [block for block in _outside_excites(found) if block.squeeze.position not in known_excites]
    found = [block for block in found if not _of_tiled(block, tiled, index)]
    found = [
        replace(block, refusal=scope.advised(block.refusal)) if isinstance(block, Refused) else block for block in found
    ]
    taken = set() if taken is None else taken
    known = tuple(replace(block, name=fresh(block.name, taken), scope=scope.title) for block in tiled)
    blocks = tuple(_held(block, index, types) for block in (*known, *_named(found, scope, taken)))
    return tuple(sorted(blocks, key=lambda block: block.squeeze.position))


def _held(block: Pooling, index: GraphIndex, types: Types) -> Pooling:
    """A block with the type that its map is held in, where that is not its own."""
    held = held_type(block.input, index, lambda name: types[name].dtype)
    return block if held == block.dtype else replace(block, held=held)


def _outside_excites(found: Sequence[Convertible | Refused]) -> list[Convertible | Refused]:
    """What was found, without the poolings that stand on the way of another block: of its descriptor, not of a map."""
    inside = {step.position for block in found for step in block.path}
    inside |= {place for block in found if block.anatomy for other in block.anatomy.beside for place in other.nodes}
    return [block for block in found if block.squeeze.position not in inside]


def _tiled_excites(tiled: Sequence[Tiled], index: GraphIndex) -> set[int]:
    """The nodes between the squeeze and the scale of each tiled block: what they pool is descriptors."""
    inside = set[int]()
    for own in tiled:
        values = [own.squeeze.output]
        while values:
            for use in index.uses(values.pop()):
                if own.squeeze.position < use.node < own.scale.position and use.node not in inside:
                    inside.add(use.node)
                    values += index.nodes[use.node].output
    return inside


def _of_tiled(block: Convertible | Refused, tiled: Sequence[Tiled], index: GraphIndex) -> bool:
    """Whether a pooling is a part of the means of a tiled block, where its nodes do not say so any more."""
    means = {own.squeeze.position for own in tiled if own.input == block.input}
    position = block.squeeze.position
    while means and position not in means:
        uses = index.uses(index.nodes[position].output[0])
        if len(uses) != 1 or uses[0].slot < 0 or uses[0].node <= position:
            return False
        position = uses[0].node
    return bool(means)


def _pooling(position: int, refusal: Refusal, index: GraphIndex, types: Types) -> Refused:
    node = index.nodes[position]
    source = types[node.input[0]]
    at = NodeRef(position, node.name, node.output[0])
    return Refused("", SE, at, None, node.input[0], source.sizes, source.dtype, refusal=refusal)


def _read(
    squeeze: Squeeze, index: GraphIndex, types: Types, opset: int, kinds: Collection[str]
) -> Convertible | Refused:
    """The block that a mean opens. Where the pooled pixels were laid out anew, either map may be the one to scale."""
    behind = laid_behind(squeeze, index, types)
    if behind is None:
        return _candidate(squeeze, index, types, opset, kinds)
    block = _candidate(behind, index, types, opset, kinds)
    if block.scale is not None:
        return block
    literal = _candidate(squeeze, index, types, opset, kinds)
    return block if isinstance(literal, Refused) and not _meets(literal) else literal


def _of_norm(
    position: int, mean: Found, index: GraphIndex, types: Types, opset: int, kinds: Collection[str]
) -> Convertible | Refused | None:
    """The block that a norm opens which is divided by its mean over the channels, or why it is none; None where a norm
    does anything else, most of all normalise."""
    norm = norm_at(position, mean, index, types)
    if norm is None:
        refusal = partial_norm(position, index, types)
        return None if refusal is None else _pooling(position, refusal, index, types)
    block = _read(norm, index, types, opset, kinds)
    gated = isinstance(block, Convertible) or block.refusal.code != "head"
    return block if gated and any(isinstance(step.act.lowering, OverChannels) for step in block.path) else None


def _with_maximum(
    block: Convertible | Refused, squeeze: Squeeze, index: GraphIndex, types: Types, opset: int, kinds: Collection[str]
) -> Convertible | Refused:
    """The block, or what it is together with a maximum of the same map, where it is none by itself."""
    if isinstance(block, Convertible) or block.refusal.code not in ("weights", "shared", "head"):
        return block
    for mean in filter(None, (laid_behind(squeeze, index, types), squeeze)):
        for use in index.uses(mean.input):
            other = maximum_at(use.node, index, types) if use.slot == 0 else None
            if other is not None and other.spatial == mean.spatial:
                both = _candidate(mean, index, types, opset, kinds, (other,))
                if isinstance(both, Convertible) or both.anatomy is not None or both.refusal.code == "other-tensor":
                    return both
    return block


def _of_branches(
    block: Convertible | Refused, squeeze: Squeeze, index: GraphIndex, types: Types, opset: int, kinds: Collection[str]
) -> Convertible | Refused:
    """The block, or what it is as one whose gates scale the branches that the pooled map is the sum of."""
    if isinstance(block, Convertible) or block.refusal.code not in ("other-tensor", "head", "weights"):
        return block
    if squeeze.statistic != MEAN:
        return block
    for mean in filter(None, (laid_behind(squeeze, index, types), squeeze)):
        total = view(mean.input, index, types).root
        branches = stack_behind(total, index, types) or parts_behind(total, index, types)
        if branches is not None:
            found = _candidate(mean, index, types, opset, kinds, branches=branches)
            unread = isinstance(found, Refused) and found.refusal.code in ("head", "other-tensor", "weights")
            if not unread or found.scale is not None:
                return found
    return block


def _meets(refused: Refused) -> bool:
    """Whether a descriptor gets as far as the map that was pooled."""
    return refused.scale is not None or refused.refusal.code == "not-mul"


def _candidate(
    squeeze: Squeeze,
    index: GraphIndex,
    types: Types,
    opset: int,
    kinds: Collection[str],
    beside: tuple[Squeeze, ...] = (),
    branches: Branches | None = None,
) -> Convertible | Refused:
    position = squeeze.nodes[-1]
    node = index.nodes[position]
    source = types[squeeze.input]
    held = {each.output: each.descriptor for each in (squeeze, *beside)}
    if isinstance(branches, Parts):
        root = View(branches.values[0], None, ())
    else:
        root = view(squeeze.input if branches is None else branches.value, index, types)
    walk = _Walk(squeeze, root, held, beside=beside, branches=branches)
    whole = _follow(walk, index, types, opset) or _whole(walk, index)
    kind = _kind(walk)
    at, steps = NodeRef(position, node.name, squeeze.output), tuple(walk.steps)

    def refused(why: Refusal, anatomy: Anatomy | None = None) -> Refused:
        scale = walk.scales[0].node if walk.scales else None
        return Refused(
            "", kind, at, scale, squeeze.input, source.sizes, source.dtype, path=steps, anatomy=anatomy, refusal=why
        )

    if isinstance(whole, Refusal):
        return refused(whole)
    anatomy = _anatomy(walk, whole, index, types)
    if isinstance(anatomy, Refusal):
        return refused(anatomy)
    if (largest := max([size or 0 for size in source.sizes or ()], default=0)) > _LARGEST:
        text = f"pools a map with an axis of {largest:,}; Resize computes exact sizes up to {_LARGEST:,}"
        return refused(refuse("shape", text, node), anatomy)
    if squeeze.tentative:
        text = (
            f"pools the whole map only at the size seen when exporting; bind that size with {setting('input_shapes')}"
        )
        return refused(refuse("size", text, node), anatomy)
    if kind not in kinds:
        text = f"opens a block of kind {kind}, with {KINDS[kind]}; {setting('kinds', {kind})} converts it"
        return refused(refuse("kind", text, node), anatomy)
    return Convertible(
        "",
        kind,
        at,
        whole.node,
        squeeze.input,
        source.sizes,
        source.dtype,
        path=steps,
        anatomy=anatomy,
        branches=1 if branches is None else branches.count,
    )


def _kind(walk: _Walk) -> str:
    if walk.squeeze.statistic != MEAN:
        return GRN
    if walk.beside or walk.branches is not None:
        return CBAM if walk.beside else SPLIT
    if not walk.scales:
        return SE
    mixers = [step.act.mixes for step in walk.steps if step.act.mixes]
    if not mixers:
        return GATHER_EXCITE
    if "full" not in mixers:
        return ECA
    return SE if len(mixers) > 1 else ESE


def _follow(walk: _Walk, index: GraphIndex, types: Types, opset: int) -> Refusal | None:
    """Follow the descriptor through every operator that acts on it, until it scales x; or say where it stops."""
    waiting: dict[int, None] = {}  # operators of which an input is not known to hold a descriptor yet
    reached = list(walk.held)
    done: set[int] = set()
    refusal = None
    while reached and refusal is None:
        value = reached.pop()
        if value in index.outputs:
            refusal = refuse("output", f"{quoted(value)} is an output of the graph")
        for use in index.uses(value):
            if refusal is not None:
                break
            position, node = use.node, index.nodes[use.node]
            if use.slot < 0:
                refusal = refuse("operator", "reads the descriptor inside a nested graph", node)
            elif position in done:
                continue
            elif node.op_type == "Shape":
                done.add(position)
                walk.sized.append(position)
            elif use.slot == 1 and operator(node) == "CastLike" and node.input[0] not in walk.held:
                walk.typed.add(position)
            elif (other := _map_beside(walk, node, index, types)) is not None:
                done.add(position)
                refusal = _meets_map(walk, position, value, other, index)
            else:
                operands = _operands(walk, node, index, types)
                if operands is None:
                    waiting[position] = None
                    continue
                done.add(position)
                waiting.pop(position, None)
                act = excite.act(Site(node, operands, opset, index, types, walk.squeeze.input))
                if isinstance(act, Refusal):
                    refusal = act
                else:
                    walk.steps.append(Step(position, act))
                    for name, result in zip(node.output, act.results, strict=False):
                        walk.held[name] = result
                        reached.append(name)
    if refusal is None and len(waiting) == 1 and walk.branches is None:
        walk.offset = _offset(walk, next(iter(waiting)), index)
    if refusal is None and waiting and walk.offset is None:
        refusal = _stranger(index.nodes[min(waiting)], walk, index)
    met = refusal is not None and refusal.code in (
        "not-mul",
        "other-tensor",
        "quantised",
    )  # a gate, if on the wrong thing
    if refusal is not None and not met and not walk.scales and not _scaled(walk, index):
        start = index.nodes[walk.squeeze.nodes[-1]]
        stop = f" ({refusal.text})" if refusal.code in ("operator", "output") else ""
        text = f"is never multiplied back onto {quoted(walk.squeeze.input)}: a head, not a gate{stop}"
        return refuse("head", text, start)
    return refusal


def _offset(walk: _Walk, position: int, index: GraphIndex) -> Offset | None:
    """What the node at `position` adds to the scaled map, if it does that and nobody else reads the scaled map."""
    node = index.nodes[position]
    if walk.beside or len(walk.scales) != 1 or node.op_type != "Add" or not is_default(node.domain):
        return None
    scaled = walk.scales[0].node.output
    others = [name for name in node.input if name != scaled]
    alone = len(index.uses(scaled)) == 1 and scaled not in index.outputs
    if not alone or len(others) != 1 or others[0] not in walk.held or others[0] == walk.scales[0].gate:
        return None
    return Offset(NodeRef(position, node.name, node.output[0]), others[0])


def _map_beside(walk: _Walk, node: NodeProto, index: GraphIndex, types: Types) -> str | None:
    """The pooled map, or a view of it, among the inputs of a node that reads a descriptor."""
    for name in node.input:
        if not name or name in walk.held:
            continue
        if isinstance(walk.branches, Parts):
            met = name in walk.branches.values
        else:
            met = _root(name, index, types) == walk.root.root
        if met or (walk.branches is None and (name == walk.squeeze.input or _before_flat(walk, name, index, types))):
            return name
    return None


def _before_flat(walk: _Walk, name: str, index: GraphIndex, types: Types) -> str | None:
    """The pooled map, lying as it was pooled, if a value has its pixels along one axis."""
    before = in_one_axis(name, walk.squeeze, index, types)
    if before is None or before == walk.squeeze.input:
        return before
    seen, rank = view(before, index, types), 2 + len(walk.squeeze.spatial)
    return before if seen.root == walk.root.root and seen.along(rank) == walk.root.along(rank) else None


def _root(value: str, index: GraphIndex, types: Types) -> str:
    return "" if index.is_constant(value) else view(value, index, types).root


def _meets_map(walk: _Walk, position: int, value: str, other: str, index: GraphIndex) -> Refusal | None:
    """A node reads both a descriptor and x: the scale, if it multiplies the two."""
    node = index.nodes[position]
    beside = [name for name in node.input if name and name not in (value, other)]
    if not scaled_by(node, value, other) or not all(map(index.is_constant, beside)):
        return refuse("not-mul", f"meets the pooled tensor {quoted(other)}, and only a Mul scales it", node)
    walk.scales.append(_Scale(NodeRef(position, node.name, node.output[0]), value, other))
    return None


def _operands(walk: _Walk, node: NodeProto, index: GraphIndex, types: Types) -> tuple[Operand, ...] | None:
    """The inputs of an operator on the way; None while one is neither a descriptor so far nor settled before."""
    operands = []
    for slot, name in enumerate(node.input):
        held = walk.held.get(name)
        steers = slot in SHAPE_SLOTS.get(node.op_type, ()) and index.is_size(name)
        if name and held is None and not steers and not index.is_constant(name):
            return None
        dims = types[name].sizes if name and held is None else None
        operands.append(Operand(name, held, dims))
    return tuple(operands)


def _stranger(node: NodeProto, walk: _Walk, index: GraphIndex) -> Refusal:
    """Why an operator never got all of its inputs: what it reads beside the descriptor comes from elsewhere."""
    other = next(name for name in node.input if name and name not in walk.held and not index.is_constant(name))
    if SCALES.of(node) is not None:
        return refuse(
            "other-tensor", f"multiplies the gate with {quoted(other)}, not with the tensor that was pooled", node
        )
    return refuse("weights", f"reads {quoted(other)}, which is neither constant nor made from the mean alone", node)


def _scaled(walk: _Walk, index: GraphIndex) -> bool:
    """Whether anything multiplies the pooled map at all."""
    values = {walk.squeeze.input, walk.root.root}
    if isinstance(walk.branches, Parts):
        values |= set(walk.branches.values)
    laid = [index.nodes[use.node] for value in values for use in index.uses(value) if use.slot == 0]
    values |= {node.output[0] for node in laid if node.op_type == "Reshape"}
    return any(SCALES.of(index.nodes[use.node]) is not None for value in values for use in index.uses(value))


def _whole(walk: _Walk, index: GraphIndex) -> _Scale | Refusal:
    """The scale, if what was walked is one block: a single one, whose gate and whose descriptors serve nothing else."""
    start = index.nodes[walk.squeeze.nodes[-1]]
    if not walk.scales:
        text = f"is never multiplied back onto {quoted(walk.squeeze.input)}: a head, not a gate"
        return refuse("head", text, start)
    if isinstance(walk.branches, Parts):
        scale = _each_scaled(walk, walk.branches, index)
        if isinstance(scale, Refusal):
            return scale
    elif len(walk.scales) > 1:
        listed = " and ".join(label(index.nodes[scale.node.position]) for scale in walk.scales)
        return refuse("shared", f"gates more than once: {listed}", start)
    else:
        scale = walk.scales[0]
    positions = {each.node.position for each in walk.scales}
    inside = {*positions, *walk.sized, *walk.typed, *(step.position for step in walk.steps)}
    if walk.offset is not None:
        inside.add(walk.offset.node.position)
    for value in walk.held:
        uses = index.uses(value)
        readers = {use.node for use in uses}
        scaling = {each.node.position for each in walk.scales if each.gate == value}
        if beside := readers & positions - scaling:
            return refuse("shared", f"scales by {quoted(value)} beside the gate", index.nodes[min(beside)])
        if not readers - walk.typed - set(walk.sized):
            return refuse("shared", f"leads to {quoted(value)}, which nothing reads", start)
        if readers - inside or (scaling and readers != scaling):
            return refuse("shared", f"shares {quoted(value)} with another reader", start)
    return _only_steers(walk, index) or scale


def _each_scaled(walk: _Walk, parts: Parts, index: GraphIndex) -> _Scale | Refusal:
    """What adds up the products of branches and gates, as the block's scale; if there is one of each branch."""
    start = index.nodes[walk.squeeze.nodes[-1]]
    if sorted(scale.map for scale in walk.scales) != sorted(parts.values):
        listed = " and ".join(label(index.nodes[scale.node.position]) for scale in walk.scales)
        text = f"pools a sum of {parts.count} branches, of which not each is gated once: {listed}"
        return refuse("other-tensor", text, start)
    walk.scales.sort(key=lambda scale: parts.values.index(scale.map))
    total = total_of(tuple(scale.node.output for scale in walk.scales), index)
    if total is None:
        return refuse("shared", "gates branches that are not added up again, and nothing else", start)
    node = index.nodes[total]
    return _Scale(NodeRef(total, node.name, node.output[0]), walk.scales[0].gate, walk.scales[0].map)


def _only_steers(walk: _Walk, index: GraphIndex) -> Refusal | None:
    """Whether the shapes of descriptors that are read lead to nothing but the reshapes that go with the tiles."""
    views = {step.position for step in walk.steps if isinstance(step.act.lowering, Alias | Regroup)}
    stack, seen = list(walk.sized), set(walk.sized)
    while stack:
        for name in index.nodes[stack.pop()].output:
            if name in index.outputs:
                return refuse("output", f"{quoted(name)}, made from a descriptor's shape, is an output of the graph")
            for use in index.uses(name):
                if use.node in views or use.node in seen:
                    continue
                node = index.nodes[use.node]
                if not index.is_size(next(iter(node.output), "")):
                    return refuse("shared", "reads the shape of a descriptor", node)
                seen.add(use.node)
                stack.append(use.node)
    return None


def _anatomy(walk: _Walk, scale: _Scale, index: GraphIndex, types: Types) -> Anatomy | Refusal:
    """The parts of the block, if the gate lies along the channels of the map that it scales."""
    squeeze, branches = walk.squeeze, walk.branches
    scaled, node = scale.map, index.nodes[scale.node.position]
    if walk.offset is not None and (refusal := _misplaced(walk, scale.gate, walk.offset, index)):
        return refusal
    letters = {0: "N", squeeze.channel: "C", **dict(zip(squeeze.spatial, SPATIAL, strict=False))}
    input_axes = pooled = "".join(letters[axis] for axis in range(2 + len(squeeze.spatial)))
    laid_out = branches is None and scaled != squeeze.input and walk.offset is None
    flat = _before_flat(walk, scaled, index, types) if laid_out else None
    other, between = view(flat or scaled, index, types), walk.root.nodes
    if branches is not None:
        total = view(squeeze.input, index, types)
        on_total = dict(zip(total.along(len(pooled)), pooled, strict=False))
        pooled = "".join(on_total.get(axis, "") for axis in range(len(pooled)))
        between = (*total.nodes, *branches.positions, *between)
    if isinstance(branches, Stack):
        pooled = pooled[: branches.axis] + "R" + pooled[branches.axis :]
    elif branches is not None:
        other = walk.root
    rank = len(pooled)
    inward, outward = walk.root.along(rank), other.along(rank)
    if len(inward) != rank or len(outward) != rank:
        return refuse("layout", f"scales {quoted(scaled)}, whose layout cannot be told", node)
    on_root = {axis: letter for letter, axis in zip(pooled, inward, strict=True)}
    map_axes = "".join(on_root[axis] for axis in outward)
    if flat is not None:
        map_axes = map_axes.replace(SPATIAL[: rank - 2], "P")
    many = {"C": squeeze.descriptor.channels, "R": branches.count if branches is not None else None}
    for each in walk.scales:
        why = _unaligned(walk.held[each.gate], map_axes, many, index.nodes[each.node.position])
        if why is not None:
            return why
    laid = () if flat is None else (index.producer(scaled) or 0,)
    root_axes = "".join(on_root[axis] for axis in range(rank))
    return Anatomy(
        squeeze,
        tuple(walk.steps),
        scale.gate,
        scaled,
        input_axes,
        map_axes,
        walk.root.root,
        root_axes,
        tuple(dict.fromkeys((*between, *other.nodes, *laid))),
        walk.beside,
        flat or "",
        walk.held[scale.gate].parts,
        walk.offset,
        tuple(Product(each.node.position, each.gate, each.map) for each in walk.scales)
        if isinstance(branches, Parts)
        else (),
    )


def _misplaced(walk: _Walk, gate: str, offset: Offset, index: GraphIndex) -> Refusal | None:
    """Why an offset does not lie as the gate does; None where it does."""
    node, (one, other) = index.nodes[offset.node.position], (walk.held[name] for name in (gate, offset.value))
    if index.nodes[walk.scales[0].node.position].op_type != "Mul":
        return refuse("quantised", "adds an offset to a map in whole numbers", node)
    if one.axes.lstrip("1") != other.axes.lstrip("1") or one.channels != other.channels:
        return refuse("layout", "adds an offset that does not lie as the gate does", node)
    return None


def _unaligned(form: Descriptor, map_axes: str, many: Mapping[str, int | None], node: NodeProto) -> Refusal | None:
    """Why a gate does not lie along the channels, and the branches, of the map that the node scales."""
    if len(form.axes) > len(map_axes):
        return refuse("layout", "gets a gate with more axes than the map has", node)
    aligned = form.axes.rjust(len(map_axes), "1")
    for letter, place in zip(aligned, map_axes, strict=True):
        if (letter in "CK") != (place in "RC") or (letter == "N" and place != "N"):
            return refuse(
                "layout", f"gets a gate that lies along [{', '.join(aligned)}] for a map [{', '.join(map_axes)}]", node
            )
    if form.channels is None or form.extents != tuple(many[letter] for letter in map_axes if letter in "RC"):
        text = f"gets a gate of {form.channels or '?'} channels for a map of {many['C'] or '?'}"
        if "R" in map_axes:
            text += f" in each of {many['R']} branches"
        return refuse("channels", text, node)
    return None


def _named(blocks: Sequence[Convertible | Refused], scope: Scope, taken: set[str]) -> tuple[Convertible | Refused, ...]:
    """The blocks, each with a name of its own: its module's, or its squeeze's where that is unknown or not unique."""
    own = [block.squeeze.node or block.squeeze.output for block in blocks]
    modules = [_module(block, scope.index) if block.path and block.scale else "" for block in blocks]
    counts = Counter(modules)
    return tuple(
        replace(block, name=fresh(module if module and counts[module] == 1 else name, taken), scope=scope.title)
        for block, module, name in zip(blocks, modules, own, strict=True)
    )


def _module(block: Block, index: GraphIndex) -> str:
    positions = (block.squeeze.position, *(step.position for step in block.path))
    return module_of([index.nodes[position] for position in positions])
