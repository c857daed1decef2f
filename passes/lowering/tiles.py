"""Lower a tiled block.

The squeeze becomes one mean per tile. The descriptors of all tiles lie as [N, C, tiles, 1], so the excite must work on
that: most nodes stay as they are, those that only move axes go, linear layers become 1×1 convolutions with the same
weights. The gates are spread over what they scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.tiling import Cover, Cut, OpenStrips, Running, Window
from tse_onnx.passes.edit.prune import prune
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.forms.quantised import QUANTISED
from tse_onnx.passes.forms.squeeze import MEAN
from tse_onnx.passes.graph.layout import OWN
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.lowering.draft import Draft, is_double
from tse_onnx.passes.lowering.excite import excite
from tse_onnx.passes.lowering.maximum import maximum
from tse_onnx.passes.lowering.norm import norm
from tse_onnx.passes.lowering.spread import BROADCAST, SPREADS, Spread
from tse_onnx.passes.lowering.squeeze import MEANS, WHOLE_NUMBERS, Means
from tse_onnx.passes.lowering.style import Style, lowering
from tse_onnx.passes.lowering.way import Case, fitting


@lowering.register(Cut)
@lowering.register(OpenStrips)
def tile(cover: Cover | OpenStrips, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that tiles `block`."""
    anatomy, draft = block.anatomy, Draft(block.name, block.anatomy, scope, taken)
    draft.scale_rows()
    mean, spread = next(pairs(cover, block, scope, style))
    grid = (mean.write if anatomy.squeeze.statistic == MEAN else partial(norm, mean=mean))(draft, cover)
    draft.state(anatomy.squeeze.output, anatomy.squeeze.output, grid)
    for position in anatomy.squeeze.nodes[:-1]:
        draft.drop(position)
    draft.put(anatomy.squeeze.nodes[-1])
    for beside in anatomy.beside:
        maximum(draft, beside, cover, grid)
        draft.state(beside.output, beside.output, grid)
        draft.put(beside.nodes[-1])
    for step in anatomy.steps:
        excite(draft, step, grid)
    if not anatomy.products:
        spread.write(draft, block.scale.position, cover, grid)
    for product in anatomy.products:
        draft.scale_product(product)
        spread.write(draft, product.position, cover, grid)
    if anatomy.offset is not None:
        draft.add_offset(anatomy.offset, block.scale.output)
        spread.write(draft, anatomy.offset.node.position, cover, grid)
    return prune(draft.edit(), scope.index)


def pairs(cover: Cover | OpenStrips, block: Convertible, scope: Scope, style: Style) -> Iterator[tuple[Means, Spread]]:
    """Every way to write the means and the spread of a block, the best first; what `style` names, where it is among
    them, in all of them."""
    operators = tuple(
        operator(scope.index.nodes[place]) for place in (block.anatomy.squeeze.nodes[-1], block.scale.position)
    )
    squeezed, scaled = (one in QUANTISED for one in operators)
    return iter(_pairs(_case(cover, block, scope), squeezed, scaled, style.means, style.upsample))


# A model has many blocks of few sizes.
@lru_cache(maxsize=1024)
def _pairs(case: Case, squeezed: bool, scaled: bool, means: str, upsample: str) -> tuple[tuple[Means, Spread], ...]:
    """The pairs in a case, where the map is `squeezed` and `scaled` in whole numbers, or not."""
    spreads = (BROADCAST,) if isinstance(case.cover, Window) else SPREADS
    if scaled:
        spreads = tuple(spread for spread in spreads if "MatMul" not in spread.operators)
    ways = (WHOLE_NUMBERS,) if squeezed else MEANS
    cases = {mean: replace(case, each_row=mean.each_row) for mean in fitting(ways, case, means)}
    found = [(mean, spread) for mean in cases for spread in fitting(spreads, cases[mean], upsample)]
    if upsample:  # what is named is given gates to spread before it is given those that need it no more
        found.sort(key=lambda pair: pair[1].name != upsample or pair[1].rank(cases[pair[0]]) > 1)
    return tuple(found)


def _case(cover: Cover | OpenStrips, block: Convertible, scope: Scope) -> Case:
    anatomy = block.anatomy
    makers = [scope.index.producer(value) for value in (*anatomy.gates, *anatomy.maps)]
    made = [scope.index.nodes[maker] for maker in makers if maker is not None]
    made.append(scope.index.nodes[block.scale.position])
    if isinstance(cover, Running):  # its numbers decide nothing
        cover = replace(cover, calibration=None)
    return Case(
        cover,
        scope.opset,
        first=anatomy.input_axes[1] == "C" and not set(anatomy.map_axes.lstrip(OWN)) & set(OWN),
        double=is_double(anatomy, scope.types),
        batch=block.shape is not None and block.shape[0] is not None,
        quantised=any(node.op_type == "DequantizeLinear" or operator(node) in QUANTISED for node in made),
    )
