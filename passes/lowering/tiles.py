"""Lower a tiled block.

The squeeze becomes one mean per tile. The descriptors of all tiles lie as [N, C, tiles, 1], so the excite must work on
that: most nodes stay as they are, those that only move axes go, linear layers become 1×1 convolutions with the same
weights. The gates are spread over what they scale.
"""

from __future__ import annotations

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.tiling import Cover, Cut, OpenStrips
from tse_onnx.passes.edit.prune import prune
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.layout import SPATIAL
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.excite import excite
from tse_onnx.passes.lowering.spread import quantised_again, rescaled, spread
from tse_onnx.passes.lowering.squeeze import squeeze
from tse_onnx.passes.lowering.style import Style, lowering


@lowering.register(Cut)
@lowering.register(OpenStrips)
def tile(cover: Cover | OpenStrips, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that tiles `block`."""
    anatomy, draft = block.anatomy, Draft(block.name, block.anatomy, scope, taken)
    squeeze(draft, anatomy, cover, style.means)
    draft.state(anatomy.squeeze.output, anatomy.squeeze.output, cover.grid)
    for position in anatomy.squeeze.nodes[:-1]:
        draft.drop(position)
    draft.put(anatomy.squeeze.nodes[-1])
    for step in anatomy.steps:
        excite(draft, step, cover.grid)
    gate = spread(draft, draft.current(anatomy.gate), cover, style.upsample)
    gate = quantised_again(draft, gate)
    gate = draft.transposed("gate_layout", gate, "NC" + SPATIAL[: len(cover.grid)], anatomy.map_axes)
    rescaled(draft, gate, block.scale.position)
    return prune(draft.edit(), scope.index)
