"""Targets and what is outside of them, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.passes.reasons import printable
from tse_onnx.passes.settings import setting
from tse_onnx.passes.targets.target import Limit, Target
from tse_onnx.passes.targets.violations import Violation
from tse_onnx.report.page import Table, say
from tse_onnx.report.view import View
from tse_onnx.targets.check import TargetCheck

if TYPE_CHECKING:
    from tse_onnx.report.page import Page

_MOST_NAMED = 6  # operators in one row; JSON has all of them

Row = tuple[Sequence[str], str]


@dataclass(frozen=True)
class TargetsView(View):
    """Targets, each with its limits and what says so."""

    targets: Sequence[Target]

    def json(self) -> dict[str, Any]:
        from tse_onnx.targets.schema import targets_json

        return targets_json(self.targets)

    def print(self, page: Page) -> None:
        for number, target in enumerate(self.targets):
            if number:
                say(page, "")
            say(page, f"{target.name}: {target.title}", style="bold")
            rows: list[Row] = [
                (
                    tuple(
                        map(
                            printable,
                            (
                                _concerned(limit),
                                str(limit),
                                limit.effect,
                                limit.version,
                                limit.source,
                            ),
                        )
                    ),
                    "",
                )
                for limit in target.limits
            ]
            if rows:
                page.print(Table(("operators", "limit", "otherwise", "version", "source"), rows))
            if target.note:
                say(page, f"Note: {target.note}.")


@dataclass(frozen=True)
class CheckView(View):
    """A model beside a target."""

    found: TargetCheck

    def json(self) -> dict[str, Any]:
        from tse_onnx.targets.schema import check_json

        return check_json(self.found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["violations"]
        return rows

    def print(self, page: Page) -> None:
        found, name = self.found, self.found.target.name
        if found.violations:
            rows: list[Row] = [(_row(one), "" if one.known else "dim") for one in found.violations]
            page.print(Table(("node", "operator", "limit", "found", "otherwise"), rows))
            for source, version in dict.fromkeys((one.limit.source, one.limit.version) for one in found.violations):
                say(page, f"Source: {source} ({version})")
        if not all(one.known for one in found.violations):
            say(page, f"Not known are sizes that depend on the input's: {setting('input_shapes')} binds it.")
        if found.target.note:
            say(page, f"{name}: {found.target.note}.")
        self.brief(page)

    def brief(self, page: Page) -> None:
        found, name = self.found, self.found.target.name
        if not found.target.limits:
            say(page, f"Nothing was checked: no limit is known of {name}.", style="bold")
        elif found.passed:
            say(page, f"{found.model} is within the limits that are known of {name}.", style="bold")


def _concerned(limit: Limit) -> str:
    if limit.except_for:
        return f"all but {len(limit.except_for)}"
    if len(limit.operators) > _MOST_NAMED:
        return f"{len(limit.operators)} operators"
    return ", ".join(limit.operators) or "every operator"


def _row(one: Violation) -> Sequence[str]:
    where = f" in {one.scope}" if one.scope else ""
    return tuple(map(printable, (one.node + where, one.operator, str(one.limit), one.found, one.limit.effect)))
