"""What verification found, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockCheck:
    """One rewritten block against the original block, run by onnxruntime on each tile of the block's own input.

    `max_error` is the largest absolute difference over the map, `tolerance` what the type allows at this output's
    magnitude.
    """

    name: str
    max_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; not a number never is."""
        return self.max_error <= self.tolerance


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


@dataclass(frozen=True)
class Verification:
    """Every check of one conversion; `inputs` tells what the model was fed with."""

    inputs: str
    samples: int
    checks: tuple[Check, ...]
    blocks: tuple[BlockCheck, ...]
    drift: tuple[Drift, ...]

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
