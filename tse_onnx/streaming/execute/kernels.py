"""Which kernel runs which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.operators import operator
from tse_onnx.streaming.execute.broadcast import Broadcast
from tse_onnx.streaming.execute.kernel import Absorber, Kernel, Site
from tse_onnx.streaming.execute.probed import Interpolated, Moved
from tse_onnx.streaming.execute.reductions import ArgReduction, LinearLayer, Reduction
from tse_onnx.streaming.execute.rowwise import RowMatrix, RowWise, RunningSum, Spread, Whole
from tse_onnx.streaming.execute.windows import (
    AbsorbingPooling,
    Convolution,
    PlainRows,
    Pooling,
    TransposedConvolution,
)
from tse_onnx.streaming.network.needs.rowwise import SPREAD_OPERANDS

_POOLINGS = frozenset({"AveragePool", "LpPool", "MaxPool"})
_WINDOWS: Mapping[str, Callable[[Site], Kernel]] = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), Convolution),
    **dict.fromkeys(_POOLINGS, Pooling),
    "ConvTranspose": TransposedConvolution,
}
_MOVES = frozenset(
    [
        "Concat",
        "DepthToSpace",
        "Flatten",
        "Gather",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)
_PRODUCTS = frozenset({"Gemm", "MatMul"})


def kernel_of(site: Site) -> Kernel:
    """The kernel that makes the stage's rows."""
    op, stage = site.node.op_type, site.stage
    if stage.barrier or _told(site):
        return Whole(site)
    if op in _WINDOWS:
        return _WINDOWS[op](site) if PlainRows(site.read(0)).group is not None else Whole(site)
    if operator(site.node) in SPREAD_OPERANDS:
        return Broadcast(site)
    if op == "Expand":
        return Spread(site)
    if op in _MOVES:
        return Moved(site)
    if op in ("Resize", "Upsample") and site.made.rows is not None:
        return Interpolated(site)
    if op == "CumSum" and stage.accumulates:
        return RunningSum(site)
    if op == "MatMul" and _mixes_rows(site):
        return RowMatrix(site)
    if _needs_whole(site):
        return Whole(site)
    return RowWise(site)


def absorber_of(site: Site) -> Absorber:
    """The kernel that takes the rows of an absorbing stage."""
    op = site.node.op_type
    if op in _POOLINGS:
        return AbsorbingPooling(site)
    if op.startswith("Arg"):
        return ArgReduction(site)
    if op in _PRODUCTS:
        return LinearLayer(site)
    if op.startswith(("Reduce", "Global")):
        return Reduction(site)
    raise ModelError(f"{site.stage.label} has no kernel that absorbs rows")


def _told(site: Site) -> bool:
    """Whether it is told while the model runs what a kernel has to know before: indices, sizes, weights."""
    op = site.node.op_type
    by_data = op in _MOVES - {"Concat"} or op in _WINDOWS or op in ("CumSum", "Resize", "Upsample")
    return by_data and any(name in site.network.tensors for name in site.node.input[1:])


def _mixes_rows(site: Site) -> bool:
    if site.node.input[0] in site.network.tensors:
        return False
    data = site.read(1)
    return data.rows is not None and data.row_count > 1 and data.rows.axis == len(data.dims) - 2


def _needs_whole(site: Site) -> bool:
    """Whether the inputs' rows are not the output's, and no kernel knows how they go together."""
    return any(tensor.row_count not in (1, site.made.row_count) for tensor in site.inputs.values())
