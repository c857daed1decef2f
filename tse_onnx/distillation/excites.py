"""The weights of excites by the names of their initializers: which can be trained."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx import ModelProto, TensorProto

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.graph.index import GraphIndex, element_count
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.network import Network

# What multiplies a descriptor by weights, or adds a bias to it. Other constants of an excite say what a function does:
# the bounds of a Clip, the three and the six of a hard sigmoid.
_LINEAR = frozenset({"Add", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Excite:
    """The excite of one block, and the initializers that hold its weights and biases."""

    block: str
    weights: tuple[str, ...]


def excites_of(model: ModelProto, network: Network, combination: Combination) -> tuple[Excite, ...]:
    """The excites of `model`, run by `network`, that can be trained: of blocks in the main graph that a tiling cuts,
    with weights in single precision.

    What is exact, a block that is kept or recomputed, stays exact. Raises `UsageError` where there is no such excite,
    and where something outside the block reads its weights as well: that would be changed with it.
    """
    index = network.analysis.main.index
    single = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and element_count(tensor.dims) > 1
    }
    blocks = {block.name: block for block in network.blocks}
    cut = [name for name, choice in combination if isinstance(choice, Tiling) and network.cuttable(name)]
    found = [Excite(name, _weights(blocks[name], index, single)) for name in cut]
    made = tuple(excite for excite in found if excite.weights)
    if not made:
        raise UsageError(
            "the plan cuts no block in the main graph whose excite has weights in single precision: there is none to "
            f"train; give a block {{ rows = 7 }}, or leave out {setting('train')}"
        )
    return made


def _weights(block: Convertible, index: GraphIndex, initializers: Collection[str]) -> tuple[str, ...]:
    own = {step.position for step in block.anatomy.steps}
    found = dict.fromkeys(
        name
        for position in sorted(own)
        for name in index.nodes[position].input
        if index.nodes[position].op_type in _LINEAR and name in initializers
    )
    for name in found:
        others = (index.nodes[use.node] for use in index.uses(name) if use.node not in own)
        other = next((quoted(node.name or next(iter(node.output), "")) for node in others), None)
        if other is not None or name in index.outputs:
            reader = "an output of the model" if other is None else f"read by {other}"
            raise UsageError(
                f"{quoted(name)}, a weight of block {quoted(block.name)}, is {reader} as well, which would change with "
                f"it: leave out {setting('train')}, or give the block a copy of its own"
            )
    return tuple(found)
