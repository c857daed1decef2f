"""A folding as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from tse_onnx.conversion.fold import FoldResult, Rows
from tse_onnx.passes.data_folding.fold import Folded
from tse_onnx.passes.data_folding.taps import Taps
from tse_onnx.report.size import size


def told(result: FoldResult, back: bool, where: str) -> Iterator[str]:
    """What was changed and what not, rows held before and after, the proof, and `where` the model was written."""
    verb = "Unfolded" if back else "Folded"
    for one in result.changed:
        windows = f"{_window(one.before)} became {_window(one.after)}"
        yield f"{verb} {one.name} by {one.factor}: {windows}{_rows(result, one)}."
    for left in result.left:
        yield f"Left {left.name}: {left.reason}."
    if result.before is not None and result.after is not None and result.changed:
        before, after = size(result.before.bytes), size(result.after.bytes)
        yield f"Held at the least while rows stream in: {before} before, {after} after."
    elif result.unread:
        yield f"Rows held are not known: {result.unread}."
    if result.checks:
        largest = max(check.error for check in result.checks)
        yield (
            f"Verified: {_count(len(result.checks))} against the original's (largest error {largest:.2g} of what the "
            "order of its sums explains); everything else is byte for byte the input."
        )
    elif result.changed:
        yield "Not verified: nothing was run."
    if result.changed:
        yield f"The model was written to {where}."
    else:
        yield f"No convolution was {verb.lower()}; the model was written unchanged to {where}."


def _count(number: int) -> str:
    return f"{number} convolution" + ("" if number == 1 else "s")


def _window(taps: Taps) -> str:
    kernel = " × ".join(str(length) for length in taps.kernel)
    stride = " × ".join(str(length) for length in dict.fromkeys(taps.stride))
    return f"{kernel} with stride {stride}"


def _rows(result: FoldResult, one: Folded) -> str:
    """How many rows of its maps are held before and after, where that is known."""
    if result.before is None or result.after is None:
        return ""
    return f"; rows held: {_of(result.before, one)} before, {_of(result.after, one)} after"


def _of(rows: Rows, one: Folded) -> str:
    held = [f"{rows.by_tensor[name]} of {name}" for name in (one.input, one.map) if name in rows.by_tensor]
    return " and ".join(held)
