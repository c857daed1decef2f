"""From a model and a plan to decisions: all that a conversion does before it changes anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from tse_onnx.analysis import Analysis, InputShapes, analyse, need_sizes
from tse_onnx.passes.match import DEFAULT_KINDS
from tse_onnx.plan import CONVERTED, REFUSED, Decision, Plan, decide
from tse_onnx.source import Source


@dataclass(frozen=True)
class Preparation:
    """What a conversion starts from.

    `analysis` has the sizes that figures and checks are for; `written` is what the edits are made for. They differ
    where sizes stay dynamic in the written model.
    """

    analysis: Analysis
    written: Analysis
    decisions: tuple[Decision, ...]

    @property
    def dynamic(self) -> bool:
        """Whether the written model keeps the dynamic sizes that the figures bind."""
        return self.analysis is not self.written


def prepare(
    source: Source,
    plan: Plan,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    dynamic: bool = False,
) -> Preparation:
    """Analyse a model and decide what becomes of each block.

    With `dynamic`, `input_shapes` are the sizes to report and verify for, and the model keeps its own.
    """
    analysis = analyse(source, input_shapes, kinds)
    if not dynamic:
        need_sizes(analysis)
        return Preparation(analysis, analysis, decide(analysis.blocks, plan, source.opset))
    written = analyse(source, None, kinds)
    decisions = decide(written.blocks, plan, source.opset, dynamic=True)
    sized = decide(analysis.blocks, plan, source.opset)
    return Preparation(analysis, written, tuple(map(_together, decisions, sized)))


def _together(written: Decision, sized: Decision) -> Decision:
    """A decision on the model as written, with the geometry that it has at the size of the report."""
    if written.open_strips is None:
        return sized if written.status == REFUSED and sized.status == REFUSED else replace(written, block=sized.block)
    return replace(written, block=sized.block, cover=sized.cover, status=CONVERTED)
