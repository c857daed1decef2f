"""An equalisation as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tse_onnx.conversion.equalise import EqualiseResult
from tse_onnx.passes.equalisation.places import Left
from tse_onnx.passes.equalisation.scales import Equalised
from tse_onnx.report.number import number

_MOST = 3


def told(result: EqualiseResult, where: str) -> Iterator[str]:
    """What was exchanged and what not, the proof, and `where` the model was written."""
    for one in result.changed:
        yield f"Equalised {_listed(one.pair.firsts)} with {_listed(one.pair.seconds)}: {_spreads(one)}."
    reasons: dict[str, list[Left]] = {}
    for left in result.left:
        reasons.setdefault(left.reason, []).append(left)
    for reason, all_left in reasons.items():
        names = [name for left in all_left for name in left.names]
        at = f" (first at {all_left[0].node})" if all_left[0].node else ""
        yield f"Left {_listed(names)}: {reason}{at}."
    if result.checks:
        yield f"Verified: {_proof(result)}; all but their numbers is byte for byte the input."
    elif result.changed:
        yield "Not verified: nothing was run."
    if result.changed:
        yield f"The model was written to {where}."
    else:
        yield f"No scale was exchanged; the model was written unchanged to {where}."


def _listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    if len(names) <= _MOST:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def _spreads(one: Equalised) -> str:
    before, after = one.before, one.after
    return (
        f"{one.pair.channels} channels, the widest {_times(before.firsts)} the middle one before and "
        f"{_times(after.firsts)} after, read by weights of {_times(before.seconds)} before and "
        f"{_times(after.seconds)} after"
    )


def _times(spread: float) -> str:
    return f"{number(spread)} ×"


def _proof(result: EqualiseResult) -> str:
    count = f"{len(result.checks)} output" + "s" * (len(result.checks) != 1)
    if all(check.equal for check in result.checks):
        return f"{count} bit for bit the original's"
    largest = max(check.error for check in result.checks)
    return f"{count} against the original's (largest error {number(largest)} of what rounding explains)"
