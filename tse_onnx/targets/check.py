"""What of a model is outside a target's limits."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tse_onnx.decision.inputs import InputShapes, bind
from tse_onnx.errors import CheckFailed
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.reasons import printable
from tse_onnx.passes.targets.target import Target
from tse_onnx.passes.targets.violations import Violation, violations
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.shown import Shown
from tse_onnx.targets.target_file import TargetLike, target_of
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class TargetCheck(Shown):
    """A model beside a target: all that is outside its limits, node by node."""

    model: str
    target: Target
    violations: tuple[Violation, ...]

    @property
    def passed(self) -> bool:
        """Whether every node is known to be within every limit."""
        return not self.violations

    def require(self) -> None:
        """Raise `CheckFailed` where a node is not."""
        if self.violations:
            nodes = len({(found.scope, found.node) for found in self.violations})
            raise CheckFailed(
                f"{nodes} node{'s are' if nodes > 1 else ' is'} outside the limits of {printable(self.target.name)}"
            )


def check(model: ModelLike, target: TargetLike, *, input_shapes: InputShapes | None = None) -> TargetCheck:
    """Hold `model`, converted or not, against the limits of `target`: a name, a TOML file or a `Target`.

    `input_shapes` gives inputs with dynamic dimensions a size, as `{"images": (1, 3, 224, 224)}`. What depends on a
    size that is not known counts as outside. Nothing is run, and the weights are not looked at. Raises `ModelError`,
    `UsageError`.
    """
    known, source = target_of(target), open_model(model)
    bound = bind(source, input_shapes or {})
    with phase(_log, f"checking against {known.name}"):
        return TargetCheck(source.title, known, violations(scopes(source.model, bound, evaluate), known))
