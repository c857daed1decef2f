"""What there is no exact form of where operators work in whole numbers (QOperator)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import NodeProto

from tse_onnx.passes.forms.quantised import ADVICE, QUANTISED
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.reasons import Refusal, refuse

if TYPE_CHECKING:
    from tse_onnx.passes.blocks.block import Convertible
    from tse_onnx.passes.blocks.choice import Site


def pooled_whole(block: Convertible, site: Site, how: str) -> Refusal | None:
    """Why a map that is pooled in whole numbers has no means in this way; None where it is not pooled so."""
    return _refusal(site.scope.index.nodes[block.anatomy.squeeze.nodes[-1]], f"has no exact means {how}")


def scaled_whole(block: Convertible, site: Site, what: str) -> Refusal | None:
    """Why the gates of a block whose scale works in whole numbers cannot be used so; None where it does not."""
    return _refusal(
        site.scope.index.nodes[block.scale.position], f"scales by whole numbers, which are no gates to {what}"
    )


def _refusal(node: NodeProto, text: str) -> Refusal | None:
    if operator(node) not in QUANTISED:
        return None
    return refuse("quantised", f"is quantised as a whole (QOperator) and {text}; {ADVICE}", node)
