"""A pass of onnx-ir (extra `onnx-ir`), for pipelines that hold a model as its intermediate representation.

import onnx_ir as ir
from tse_onnx.adapters.onnx_ir import TiledSqueezeExcite

result = ir.passes.Sequential(TiledSqueezeExcite(rows=8), …)(ir.load("model.onnx"))
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from tse_onnx.conversion.convert import convert, find_blocks
from tse_onnx.decision.decision import CONVERTED, Decision
from tse_onnx.errors import TseError
from tse_onnx.passes.blocks.block import Tiled
from tse_onnx.passes.blocks.tiling import OLDEST_OPSET
from tse_onnx.passes.search.match import DEFAULT_KINDS

_LARGEST = 2**31 - 2**20  # what protobuf serialises, with some room for the nodes


class TiledSqueezeExcite(ir.passes.FunctionalPass):
    """Tile the squeeze of every squeeze-and-excite block; the options are those of `tse_onnx.convert`.

    The pass makes a new model, and says that it is `modified` where a block was converted. Blocks that are tiled
    already stay so, so that it may run twice. What `convert` raises comes out as onnx-ir's `PreconditionError`,
    `PassError` and `PostconditionError`, with the `TseError` as its cause.
    """

    def __init__(self, rows: int = 7, **options: Any) -> None:
        super().__init__()
        self._options: dict[str, Any] = {"rows": rows} | options
        self._expected: frozenset[str] = frozenset()

    def requires(self, model: ir.Model) -> None:
        """The model has an opset that tiles can be written in, and weights that fit into one message."""
        opset = model.opset_imports.get("", 0)
        if opset < OLDEST_OPSET:
            raise ir.passes.PreconditionError(f"the model uses opset {opset}; tiles need opset {OLDEST_OPSET} or newer")
        held = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
        if held > _LARGEST:
            raise ir.passes.PreconditionError(
                f"its weights are {held:,} bytes, more than one message holds: save it, and convert the file"
            )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """The converted and verified model."""
        given = ir.to_proto(ir.external_data.load_to_model(model.clone()))
        try:
            result = convert(given, **self._options)
        except TseError as error:
            raise ir.passes.PassError(str(error)) from error
        self._expected = frozenset(decision.block.name for decision in result.blocks if _is_tiled(decision))
        return ir.passes.PassResult(ir.from_proto(result.model), result.report.buffering.totals.converted > 0)

    def ensures(self, model: ir.Model) -> None:
        """Every block that was tiled is found as such in what came out."""
        proto = ir.to_proto(model)
        shapes, kinds = self._options.get("input_shapes"), self._options.get("kinds", DEFAULT_KINDS)
        blocks = find_blocks(proto, input_shapes=shapes, kinds=kinds)
        found = {block.name for block in blocks if isinstance(block, Tiled)}
        if lost := sorted(self._expected - found):
            raise ir.passes.PostconditionError(f"block {lost[0]!r} was tiled, and is not found so")


def _is_tiled(decision: Decision) -> bool:
    return decision.status == CONVERTED and decision.cover is not None
