"""Lower a block that takes the gates of the frame before: they come in by an input of the model, and go out by
an output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.previous import Carried
from tse_onnx.passes.edit.prune import prune
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import TensorType, value_info
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.spread import quantised_again, rescaled
from tse_onnx.passes.lowering.style import Style, lowering
from tse_onnx.passes.names import fresh


@lowering.register
def carry(form: Carried, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that scales by an input of the model, and makes the gate an output. Squeeze and excite stay as they are,
    but for the names of the nodes that pool."""
    draft = Draft(block.name, block.anatomy, scope, taken)
    taken.update((form.gate_in, form.gate_out))
    for position in block.anatomy.squeeze_nodes:
        pools = NodeProto()
        pools.CopyFrom(scope.index.nodes[position])
        pools.name = fresh(f"{block.name}/previous/{pools.name or pools.op_type}", taken)
        draft.add(pools)
        draft.put(position)
    draft.add(draft.node("Identity", "previous/gate", [form.value], output=form.gate_out))
    rescaled(draft, quantised_again(draft, form.gate_in), block.scale.position)
    shape = form.shape(block)
    stated = scope.types[block.input].dims or (None,)
    # Where the batch is open, the input is of that batch or of one sample, its default: it must not bear its name.
    batches = (None, stated[0])
    ends = [
        value_info(name, TensorType(form.dtype, tuple(batch if dim is None else dim for dim in shape)))
        for name, batch in zip((form.gate_in, form.gate_out), batches, strict=True)
    ]
    edit = prune(draft.edit(), scope.index)
    return replace(edit, inputs=(ends[0],), outputs=(ends[1],), initializers=(_default(form, shape),))


def _default(form: Carried, shape: tuple[int | None, ...]) -> TensorProto:
    """What the input is where nothing is fed: where the batch is open it serves every sample."""
    dims = tuple(dim or 1 for dim in shape)
    along = [-1 if axis == form.channel else 1 for axis in range(len(dims))]
    numbers = np.broadcast_to(np.reshape(form.first, along), dims)
    return onnx.helper.make_tensor(form.gate_in, form.dtype, dims, numbers.reshape(-1).tolist())
