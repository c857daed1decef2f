"""Blocks that add an offset to what they scale, made of the same means as the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tse_onnx.passes.reasons import Refusal, refuse

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Convertible
    from tse_onnx.passes.blocks.choice import Site


def offset_left(block: Convertible, site: Site) -> Refusal | None:
    """Why a gate of another kind is of no use: an offset is made of the mean as well. None where there is none."""
    offset = block.anatomy.offset
    if offset is None:
        return None
    text = "adds an offset that is made of the mean as well, which would still be of the whole map"
    return refuse("shared", f"{text}: give it rows, or leave it out", site.scope.index.nodes[offset.node.position])
