"""What verification found, as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.scores import Score
from tse_onnx.shown import Shown

_SHOWN = 3  # names in one sentence


@dataclass(frozen=True)
class BlockCheck:
    """One rewritten block against the original block, run by onnxruntime on each tile of the block's own input.

    Every channel of every tile has a tolerance of its own. `max_error` is the largest absolute difference in the one
    that came closest to its tolerance, and `tolerance` what rounding explains there. Of the `elements` that were
    compared, `not_finite` are infinities or no numbers, the same in both. `gate_spread` is the largest difference
    between the gates of two tiles of one channel, relative to the channel's largest gate, and `told_apart` the part of
    the pairs of neighbouring tiles in which swapping the gates would have exceeded the tolerance: both None for a
    frozen gate.
    """

    name: str
    max_error: float
    tolerance: float
    elements: int = 0
    not_finite: int = 0
    gate_spread: float | None = None
    told_apart: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; not a number never is."""
        return self.max_error <= self.tolerance

    @property
    def exact(self) -> bool:
        """Whether the block has to make what the original makes, bit for bit."""
        return self.tolerance == 0 and self.max_error == 0

    @property
    def ratio(self) -> float:
        """The error as a multiple of the tolerance."""
        return ratio_of(self.max_error, self.tolerance)


@dataclass(frozen=True)
class Check:
    """A check that holds or does not; `text` says what was compared, and what differs where it failed."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Drift:
    """How far an output of the converted model is from the original's, over all samples.

    `sqnr_db` is the signal-to-noise ratio in decibels, None where the outputs are equal, and minus infinity
    where one is not a number; `top1_agreement` is the
    fraction of samples with the same largest entry, None for outputs that do not look like logits.
    """

    output: str
    max_abs: float
    sqnr_db: float | None
    top1_agreement: float | None


@dataclass(frozen=True, repr=False)
class Verification(Shown):
    """Every check of one conversion; `inputs` tells what the model was fed with, `remarks` what the checks were held
    to that is not as usual. `scores` are how far its outputs are from the original's on the user's data; there are none
    where noise was run."""

    inputs: str
    samples: int
    checks: tuple[Check, ...]
    blocks: tuple[BlockCheck, ...]
    drift: tuple[Drift, ...]
    remarks: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()

    @property
    def unknown(self) -> str:
        """Why there are no scores."""
        return "only noise was run" if self.samples else "nothing was run"

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks) and all(check.passed for check in self.blocks)

    @property
    def failures(self) -> tuple[str, ...]:
        """One sentence for each check that failed."""
        blocks = (
            f"block '{check.name}' differs from the original run tile by tile: max error {check.max_error:.3g}, "
            f"tolerance {check.tolerance:.3g}"
            for check in self.blocks
            if not check.passed
        )
        return (*(check.text for check in self.checks if not check.passed), *blocks)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each thing that the checks did not show, and what to do about it."""
        return (*self.remarks, *self._still(), *self._not_finite())

    def _still(self) -> Iterator[str]:
        still = [check.name for check in self.blocks if check.told_apart == 0]
        if still:
            yield (
                f"the gates of {listed(still)} do not move on these data, so a gate of the wrong tile would not have "
                f"been noticed there: verify with other data ({setting('data')}), or another {setting('seed')}"
            )

    def _not_finite(self) -> Iterator[str]:
        found = [check for check in self.blocks if check.not_finite]
        if found:
            count, of = (sum(getattr(check, field) for check in found) for field in ("not_finite", "elements"))
            yield (
                f"{count:,} of {of:,} values in {listed([check.name for check in found])} are not finite in the "
                "original either: of these the check shows no more than that they are the same"
            )


def ratio_of(error: float, tolerance: float) -> float:
    """An error as a multiple of its tolerance; without bound where it is not a number, or nothing is allowed."""
    if error == 0:
        return 0.0
    return error / tolerance if tolerance > 0 and not math.isnan(error) else math.inf


def listed(names: Sequence[str]) -> str:
    """Blocks by name, the first of them where there are many."""
    shown = ", ".join(quoted(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"block{'s' * (len(names) > 1)} {shown}{more}"
