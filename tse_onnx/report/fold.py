"""A folding as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.conversion.fold import FoldResult, Rows
from tse_onnx.passes.data_folding.fold import Folded
from tse_onnx.passes.data_folding.taps import Taps
from tse_onnx.passes.reasons import printable
from tse_onnx.report.page import say
from tse_onnx.report.size import size
from tse_onnx.report.view import View

if TYPE_CHECKING:
    from tse_onnx.report.page import Page


@dataclass(frozen=True)
class FoldView(View):
    """What was changed and what not, rows held before and after, the proof, and `where` the model was written."""

    result: FoldResult
    where: str

    @property
    def headline(self) -> str:
        return f"{printable(self.result.title)}: {_count(len(self.result.changed))} {_done(self.result)}{self._held()}"

    def json(self) -> dict[str, Any]:
        from tse_onnx.conversion.fold_schema import fold_json

        return fold_json(self.result)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["changed"]
        return rows

    def print(self, page: Page) -> None:
        for line in _told(self.result, self.where):
            say(page, line)

    def _held(self) -> str:
        before, after = self.result.before, self.result.after
        if before is None or after is None or not self.result.changed:
            return ""
        return f", {size(before.bytes)} held before, {size(after.bytes)} after"


def _told(result: FoldResult, where: str) -> Iterator[str]:
    verb = _done(result)
    for one in result.changed:
        windows = f"{_window(one.before)} became {_window(one.after)}"
        yield f"{verb.capitalize()} {one.name} by {one.factor}: {windows}{_rows(result, one)}."
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
        yield f"No convolution was {verb}; the model was written unchanged to {where}."


def _done(result: FoldResult) -> str:
    return "unfolded" if result.back else "folded"


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
