"""What is said of a conversion, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tse_onnx.decision.buffering import Buffering
from tse_onnx.decision.plan import Plan
from tse_onnx.passes.graph.types import Dim

if TYPE_CHECKING:
    from tse_onnx.streaming.execute.certificate import Certificate
    from tse_onnx.verification.result import Verification


@dataclass(frozen=True)
class Report:
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
