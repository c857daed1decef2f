"""What may become of a block, and of several at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.block import Block, Convertible
from tse_onnx.passes.blocks.choice import Choice, Site
from tse_onnx.passes.blocks.choices import identity
from tse_onnx.passes.blocks.previous import PREVIOUS, Previous
from tse_onnx.passes.blocks.recompute import RECOMPUTE, Recompute
from tse_onnx.passes.blocks.tiling import CALIBRATED, OLDEST_OPSET, RUNNING, TILE, Running, Tiling, nearest_divisor
from tse_onnx.passes.reasons import Refusal
from tse_onnx.passes.settings import command, setting
from tse_onnx.tuning.statistics import Gate, Means

Combination = tuple[tuple[str, Choice | None], ...]
"""Choices by block name, in the order of the blocks; a block that is not named keeps its global mean."""

UNSEEN = "its gate does not show in a run of the model"

# Choices with more to say than a few settings, such as a gate's numbers, are kept by a digest of it.
_LONGEST_KEY = 200

ROWS = (1, 2, 3, 4, 5, 6, 7, 10, 14)
SQUEEZES = (TILE, RUNNING, CALIBRATED, RECOMPUTE, PREVIOUS)


@dataclass(frozen=True)
class Menu:
    """What is offered to every block, beside a frozen gate.

    `rows` are the rows of a tile; `squeezes` are among `tile`, `running`, `calibrated`, a running squeeze that knows
    what to expect, `recompute` and, on frames alone, `previous`: None for all that the data allow. `steps` are the
    rows that a running squeeze goes on by. With `divisors` tiles have the divisor of the map's rows that is nearest to
    each number.
    """

    rows: Sequence[int] = ROWS
    squeezes: Sequence[str] | None = None
    steps: Sequence[int] = (1,)
    divisors: bool = False

    def __post_init__(self) -> None:
        for what, numbers in (("rows", self.rows), ("steps", self.steps)):
            if not numbers or min(numbers) < 1:
                raise UsageError(f"the {what} to try are one or more whole numbers from 1 on")
        if self.squeezes is not None and (not self.squeezes or not set(self.squeezes) <= set(SQUEEZES)):
            raise UsageError(f"the squeezes to try are among {', '.join(SQUEEZES[:-1])} and {SQUEEZES[-1]}")

    def on(self, frames: bool) -> Menu:
        """What of this is offered on frames of streams, or on samples on their own. Raises `UsageError` where it asks
        for what only frames have."""
        if self.squeezes is None:
            return replace(self, squeezes=SQUEEZES if frames else tuple(one for one in SQUEEZES if one != PREVIOUS))
        if PREVIOUS in self.squeezes and not frames:
            raise UsageError(
                f"{PREVIOUS} takes the gates of the frame before, and samples on their own have no frame before: "
                f"{setting('frames', True)} takes streams; {command('plan', squeeze=PREVIOUS)} writes a plan of "
                "it, evaluate "
                f"{setting('frames', True)} judges that on videos"
            )
        return self

    def tilings(self, block: Block, opset: int, means: Means | None = None, axis: int = 0) -> tuple[Tiling, ...]:
        """The tilings along a spatial `axis` that make a difference to `block`, by rising rows; `means` are those of
        its map on data, without which there is nothing to calibrate by."""
        extents = tuple(extent for extent in block.extents if extent is not None)
        if opset < OLDEST_OPSET or len(extents) != len(block.extents) or 0 in extents or axis >= len(extents):
            return ()
        found: dict[object, Tiling] = {}
        for rows in sorted(set(self.rows)):
            for tiling in self._of(rows, extents, means, axis):
                cover = tiling.cover(extents)
                if not cover.covers_map:
                    found.setdefault(cover, tiling)
        return tuple(found.values())

    def recomputes(self, block: Convertible, site: Site) -> tuple[Recompute, ...]:
        """The values that may be held instead of the map of `block`, as choices: the narrowest first, and each further
        one with fewer multiply-accumulates."""
        ways = Recompute().ways(block, site) if RECOMPUTE in self._tried else ()
        return () if isinstance(ways, Refusal) else tuple(Recompute(way.held) for way in ways)

    def previous(self, block: Convertible, site: Site, gate: Gate | None) -> tuple[tuple[Previous, str], ...]:
        """The gates of the frame before, where these are tried, and why `block` cannot take them, if so; the first
        frame's are the means on data."""
        if PREVIOUS not in self._tried:
            return ()
        choice = Previous() if gate is None else gate.first
        found = choice.settle(block, site)
        if isinstance(found, Refusal):
            return ((choice, found.text),)
        return ((choice, UNSEEN if gate is None else ""),)

    @property
    def _tried(self) -> Sequence[str]:
        return SQUEEZES if self.squeezes is None else self.squeezes

    def _of(self, rows: int, extents: tuple[int, ...], means: Means | None, axis: int) -> Iterable[Tiling]:
        if TILE in self._tried:
            near = nearest_divisor(extents[axis], min(rows, extents[axis])) if self.divisors else rows
            yield Tiling(near, axis=axis)
        for step in self.steps if rows < extents[axis] else ():
            plain = Tiling(rows, squeeze=RUNNING, step=min(step, rows), axis=axis)
            if RUNNING in self._tried:
                yield plain
            cover = plain.cover(extents)
            if CALIBRATED in self._tried and means is not None and isinstance(cover, Running):
                yield replace(plain, calibration=means.calibration(cover))


def combined(choices: Iterable[tuple[str, Choice | None]]) -> Combination:
    """Choices as a combination: without the blocks that keep their global mean."""
    return tuple((name, choice) for name, choice in choices if choice is not None)


def inexact(combination: Combination) -> Combination:
    """What of a combination changes the outputs: all that is to be measured of it."""
    return tuple((name, choice) for name, choice in combination if choice is None or not choice.exact)


def carries(combination: Combination) -> bool:
    """Whether something goes from frame to frame, so that what comes out depends on the frames before."""
    return any(isinstance(choice, Previous) for _, choice in combination)


def label(choice: Choice | None) -> str:
    """A choice in a word, for narrow tables."""
    return "keep" if choice is None else choice.label


def key(combination: Combination) -> str:
    """A text that only this combination has, the same in every session; long numbers stand in it as a digest."""
    return json.dumps([[name, _short(identity(choice))] for name, choice in combination])


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_KEY else hashlib.sha256(text.encode()).hexdigest()
