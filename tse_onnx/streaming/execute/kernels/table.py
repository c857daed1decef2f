"""How each operator is run on rows: the one table, joined of the families', which are those of the needs."""

from __future__ import annotations

from tse_onnx.passes.graph.operators import Rules, operator
from tse_onnx.streaming.execute.kernels import products, reductions, windows
from tse_onnx.streaming.execute.kernels.kernel import Absorber, Absorbing, Kernel, Rule, Site
from tse_onnx.streaming.execute.kernels.moves import MOVES
from tse_onnx.streaming.execute.kernels.products import PRODUCTS
from tse_onnx.streaming.execute.kernels.reductions import REDUCTIONS
from tse_onnx.streaming.execute.kernels.rowwise import ROWWISE
from tse_onnx.streaming.execute.kernels.whole import Whole
from tse_onnx.streaming.execute.kernels.windows import WINDOWS
from tse_onnx.streaming.network.needs.table import EVERY_OUTPUT

KERNELS: Rules[Rule] = ROWWISE | WINDOWS | REDUCTIONS | PRODUCTS | MOVES
ABSORBERS: Rules[Absorbing] = windows.ABSORBERS | reductions.ABSORBERS | products.ABSORBERS


def kernel_of(site: Site) -> Kernel:
    """The kernel that makes the stage's rows. What the needs have no rule for is run as a whole, as barriers are."""
    rule = KERNELS.of(site.node)
    if rule is None or site.stage.barrier or (site.slot and site.node.op_type not in EVERY_OUTPUT):
        return Whole(site)
    return rule(site)


def absorber_of(site: Site) -> Absorber:
    """The kernel that takes the rows of an absorbing stage."""
    return ABSORBERS[operator(site.node)](site)
