"""What is said of a conversion, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.quality_gates import NO_GATES, Judgement, QualityGates, require
from tse_onnx.conversion.verdict import Verdict, verdict_of
from tse_onnx.decision.buffering import Buffering
from tse_onnx.decision.plan import Plan
from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.types import Dim
from tse_onnx.shown import Shown

if TYPE_CHECKING:
    from tse_onnx.passes.targets.target import Target
    from tse_onnx.streaming.compare import Comparison
    from tse_onnx.streaming.execute.certificate import Certificate
    from tse_onnx.verification.result import Verification


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """One conversion, or what one would be: the model, the plan, every block's figures, and what was checked."""

    model: str
    opset: int
    input_shapes: Mapping[str, tuple[Dim, ...]]
    plan: Plan
    buffering: Buffering
    verification: Verification | None
    dynamic: bool = False
    """Whether the written model keeps its dynamic sizes, and `input_shapes` are only those of the figures."""
    certificate: Certificate | None = None
    comparison: Comparison | None = field(default=None, repr=False)
    """What the whole network holds before and after, where that was asked for."""
    target: Target | None = None
    """What the blocks are written for, where that was asked for."""
    trouble: str = ""
    """Why there is no comparison, though it was asked for."""
    gates: QualityGates = NO_GATES
    """What the verdict has to come to."""
    configuration: Mapping[str, Any] | None = None
    """The file that options came from, and these options by name, where there are such."""

    @property
    def verdict(self) -> Verdict:
        """What the conversion comes to, in a few numbers."""
        return verdict_of(self.buffering, self.comparison, self.verification)

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """What each of the gates found. Raises `ModelError` where the figure of one could not be counted."""
        if self.gates.max_memory is not None and self.trouble:
            raise ModelError(self.trouble)
        return self.gates.judge(self.verdict)

    def require(self) -> None:
        """Raise `CheckFailed` where a gate was missed, and `ModelError` where its figure could not be counted."""
        require(self.judgements, self)
