"""A plan: which block gets which choice."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling


@dataclass(frozen=True)
class Plan:
    """Which block gets which choice: `choices` by block name, `default` for every other; None keeps the global mean.

    A choice is a `Tiling`, a `Recompute` or a `Frozen` gate. `notes` say by block name why it is kept or frozen, for
    the report. `max_macs` bounds what all recomputed blocks together compute more, in per cent of the network's
    multiply-accumulates. A plan is written as TOML by `dumps` and read by `loads` and `load`.
    """

    default: Choice | None = field(default_factory=Tiling)
    choices: Mapping[str, Choice | None] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    max_macs: float | None = None

    def __post_init__(self) -> None:
        bound = self.max_macs
        if bound is not None and (isinstance(bound, bool) or not math.isfinite(bound) or bound < 0):
            raise UsageError(f"a limit of MACs is zero or more per cent of the network's, not {bound}")

    def of(self, block: Block) -> Choice | None:
        """The choice for a block."""
        return self.choices.get(block.name, self.default)

    def dumps(self) -> str:
        """The plan as the text of a TOML file."""
        from tse_onnx.decision.plan_file import plan_text

        return plan_text(self)

    @classmethod
    def loads(cls, text: str) -> Plan:
        """The plan in the text of a TOML file. Raises `UsageError` where it is none."""
        from tse_onnx.decision.plan_file import parse_plan

        return cls(*parse_plan(text))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """The plan in a TOML file. Raises `UsageError` where there is none."""
        from tse_onnx.decision.plan_file import read_plan

        return cls(*read_plan(Path(path)))
