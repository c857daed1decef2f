"""Every choice for a block, and the way back from its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import GLOBAL, Choice, Fields
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.blocks.tiling import TILE, Tiling

CHOICES: tuple[type[Choice], ...] = (Tiling, Recompute, Previous, Frozen)

SQUEEZES: Mapping[str, type[Choice]] = {name: kind for kind in CHOICES for name in kind.squeezes}
"""The class of the choices that go by each name."""

TO_ASK_FOR: tuple[str, ...] = tuple(name for name, kind in SQUEEZES.items() if not kind.needs_numbers())
"""The names that stand for themselves: nothing has to be measured first."""


def fields_of(choice: Choice | None) -> dict[str, Any]:
    """A choice as JSON knows it; None, the global mean, has a name as well."""
    return {"squeeze": GLOBAL} if choice is None else choice.fields()


def choice_of(fields: Fields) -> Choice | None:
    """The choice with these fields; None for the global mean.

    Raises `UsageError` where they make none, or `TypeError` where one is unknown or of another type.
    """
    squeeze = fields.get("squeeze", TILE)
    if squeeze == GLOBAL:
        return None
    if squeeze not in SQUEEZES:
        raise UsageError(f"there is no squeeze {squeeze!r}; there are {', '.join((*SQUEEZES, GLOBAL))}")
    return SQUEEZES[squeeze].of(fields)


def identity(choice: Choice | None) -> str:
    """A text that only this choice has, the same in every session; it is as long as its numbers are many."""
    return json.dumps(fields_of(choice), sort_keys=True, separators=(",", ":"))
