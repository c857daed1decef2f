"""A plan: which block gets which choice."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Block
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting


@dataclass(frozen=True)
class Plan:
    """Which block gets which choice: `choices` by block name, `default` for every other; None keeps the global mean.

    A choice is a `Tiling`, a `Recompute` or a `Frozen` gate. `notes` say by block name why it is kept or frozen, for
    the report. `max_macs` bounds what all recomputed blocks together compute more, in per cent of the network's
    multiply-accumulates. `target` is the compiler or device that it was made for, by name or file, for which a
    conversion writes it. `weights` are fingerprints of those that were trained with the plan's numbers, by
    the names of their initializers. `quantised` says which operators were in eight bits when it was chosen, if any
    were. A plan is written as TOML by `dumps` and read by `loads` and `load`.
    """

    default: Choice | None = field(default_factory=Tiling)
    choices: Mapping[str, Choice | None] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    max_macs: float | None = None
    target: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    quantised: str | None = None

    def __post_init__(self) -> None:
        bound = self.max_macs
        if bound is not None and (isinstance(bound, bool) or not math.isfinite(bound) or bound < 0):
            raise UsageError(f"a limit of MACs is zero or more per cent of the network's, not {bound}")

    @property
    def axis(self) -> int | None:
        """The spatial axis that its tilings are cut along; None where there are none, or they differ."""
        return next(iter(self.axes)) if len(self.axes) == 1 else None

    @property
    def axes(self) -> frozenset[int]:
        """The spatial axes that its tilings are cut along."""
        return frozenset(each.axis for each in (self.default, *self.choices.values()) if isinstance(each, Tiling))

    def along(self, axis: int) -> Plan:
        """The plan with its tilings cut along a spatial axis.

        Where it says none, its tilings are along the first, and are turned. Raises `UsageError` where it says another,
        or calibrates a block along the first: what the first rows say of a map the first columns do not.
        """
        turned = {name: _turned(choice, axis, f"block {quoted(name)}") for name, choice in self.choices.items()}
        return replace(self, default=_turned(self.default, axis, "every other block"), choices=turned)

    def of(self, block: Block) -> Choice | None:
        """The choice for a block."""
        return self.choices.get(block.name, self.default)

    def dumps(self) -> str:
        """The plan as the text of a TOML file."""
        from tse_onnx.decision.plan_file import plan_text

        return plan_text(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as a TOML file, whole or not at all. Raises `ModelError` where it cannot be written."""
        from tse_onnx.files.write import write_text

        write_text(Path(path), self.dumps())

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


def _turned(choice: Choice | None, axis: int, what: str) -> Choice | None:
    """A choice cut along `axis`, as far as it leaves that open."""
    if not isinstance(choice, Tiling) or choice.axis == axis:
        return choice
    if choice.axis:
        raise UsageError(f"the plan cuts {what} along axis {choice.axis}, not along {axis}")
    if choice.calibration is not None:
        raise UsageError(
            f"the plan calibrates {what} along axis 0: tune it anew for axis {axis}, with tune {setting('axis')}"
        )
    return replace(choice, axis=axis)
