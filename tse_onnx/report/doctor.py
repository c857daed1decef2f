"""A check-up as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.passes.reasons import printable
from tse_onnx.report.page import Table, say
from tse_onnx.report.view import View
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    from tse_onnx.installation.doctor import CheckUp, ExtraCheck, Package
    from tse_onnx.report.page import Page


@dataclass(frozen=True)
class DoctorView(View):
    """Which packages and extras are there."""

    found: CheckUp

    def json(self) -> dict[str, Any]:
        from tse_onnx.installation.schema import doctor_json

        return doctor_json(self.found)

    def print(self, page: Page) -> None:
        found = self.found
        say(page, f"tse-onnx {VERSION}, Python {found.python}, {found.platform}")
        if found.packages:
            rows = [((one.name, one.wanted, one.installed or "–"), "" if one.ok else "bold") for one in found.packages]
            page.print(Table(("package", "needed", "installed"), rows))
        page.print(Table(("extra", "", "what it is for"), [(_row(check), "") for check in found.extras]))
        for check in found.extras:
            if not check.ok:
                say(page, f"{check.extra.name}: {check.extra.install}")
        known = dict.fromkeys([*found.packages, *(one for check in found.extras for one in check.packages)])
        for one in known:
            if one.trouble:
                say(page, f"{one.name} {one.installed} cannot be used: {printable(one.trouble)}")
        self.brief(page)

    def brief(self, page: Page) -> None:
        from tse_onnx.installation.doctor import missing

        say(page, _outcome(self.found, missing(self.found.extras)), style="bold")


def _row(check: ExtraCheck) -> tuple[str, ...]:
    return check.extra.name, "✓" if check.ok else "✗", check.extra.purpose


def _outcome(found: CheckUp, missing: list[str]) -> str:
    if not found.packages:
        return "tse-onnx is not installed under its name: what it needs is not known."
    if not found.ok:
        return f"What every command may need is not there: {', '.join(_names(found.packages))}."
    if missing:
        return f"All that every command may need is there; of the extras not: {', '.join(missing)}."
    return "All is there."


def _names(packages: tuple[Package, ...]) -> list[str]:
    return [package.name for package in packages if not package.ok]
