"""The list of what does not come out as it should, by name, with reasons. It may only shrink."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.steps import STEPS, Finding

PATH = Path(__file__).with_name("known.txt")


@dataclass(frozen=True, order=True)
class Entry:
    """A step of a case that is known to end with an exit code that is not 0."""

    case: str
    step: str
    code: int


def read(text: str) -> dict[Entry, str]:
    """The entries of a list, with the reason of each."""
    found: dict[Entry, str] = {}
    heading: tuple[str, int, str] | None = None
    for line in text.splitlines():
        if line.startswith("["):
            place, _, reason = line[1:].partition("] ")
            step, _, code = place.partition(" ")
            if step not in STEPS or not reason:
                raise ValueError(f"no heading of the form [STEP CODE] REASON: {line}")
            heading = step, int(code), reason
        elif line and not line.startswith("#"):
            if heading is None:
                raise ValueError(f"{line} stands under no heading")
            entry = Entry(line, *heading[:2])
            if entry in found:
                raise ValueError(f"{line} is listed twice")
            found[entry] = heading[2]
    return found


def struck(text: str, passing: Collection[Entry]) -> str:
    """A list without some of its entries, and without headings that have none left."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    kept = []
    for block in blocks:
        if block[0].startswith("["):
            step, _, code = block[0][1:].partition("]")[0].partition(" ")
            block = [block[0], *(line for line in block[1:] if Entry(line, step, int(code)) not in passing)]
            if len(block) == 1:
                continue
        kept.append("\n".join(block))
    return "\n\n".join(kept) + "\n"


def judged(
    known: Collection[Entry], cases: Collection[str], findings: Collection[Finding]
) -> tuple[list[Finding], list[Entry]]:
    """Of the cases that ran: what is not listed, and what is listed and does not happen any more."""
    happened = {Entry(finding.case, finding.step, finding.code) for finding in findings}
    new = [finding for finding in findings if Entry(finding.case, finding.step, finding.code) not in known]
    return sorted(new), sorted(entry for entry in known if entry.case in cases and entry not in happened)
