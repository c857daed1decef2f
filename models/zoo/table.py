"""The results of a folder as a markdown document."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.zoo import published
from models.zoo.check import ROWS, Outcome, outcome_path
from models.zoo.facts import Facts, load


@dataclass
class _Row:
    """Sums over models of one kind."""

    models: int = 0
    true: int = 0
    found: int = 0
    wrong: int = 0
    refused: int = 0
    passed: int = 0
    tried: int = 0
    opsets: set[int] = field(default_factory=set)

    def add(self, facts: Facts, outcome: Outcome) -> None:
        """Count one model."""
        self.models += 1
        self.true += len(facts.modules)
        self.found += outcome.found
        self.wrong += outcome.wrong
        self.refused += 0 if facts.convertible else outcome.missed
        self.passed += len(outcome.converted)
        self.tried += len(ROWS)
        self.opsets.add(facts.opset)

    def cells(self) -> str:
        """The cells of its line."""
        opsets = f"{min(self.opsets)} to {max(self.opsets)}" if len(self.opsets) > 1 else str(*self.opsets)
        refused = f"{self.refused}" if self.refused else ""
        return (
            f"| {opsets} | {self.models} | {self.true} | {self.found} | {refused} | {self.wrong} "
            f"| {self.passed} of {self.tried} |"
        )


HEAD = "| opsets | models | true blocks | found | refused by design | wrong | conversions verified |\n"
RULE = "|---:|---:|---:|---:|---:|---:|---:|\n"


def table(folder: Path) -> str:
    """All results: by exporter, by tool, by network, and what was missed."""
    results = list(_results(folder))
    text = "# Real exports, and what is found in them\n\n" + __doc_text__
    text += "\n## By exporter\n\n| exporter | source " + HEAD + "|---|---" + RULE
    for (exporter, source), row in _grouped((f, o, (f.exporter, f.source)) for f, o in results if not f.tool):
        text += f"| {exporter} | {source} {row.cells()}\n"
    text += "\n## After a tool\n\n| tool " + HEAD + "|---" + RULE
    for (tool,), row in _grouped((f, o, (f.tool,)) for f, o in results if f.tool):
        text += f"| {tool} {row.cells()}\n"
    text += "\n## By network\n\n| network " + HEAD + "|---" + RULE
    for (network,), row in _grouped((f, o, (f.network,)) for f, o in results if not f.tool):
        text += f"| {network} {row.cells()}\n"
    text += "\n## Missed, wrong or failed\n\n"
    for facts, outcome in results:
        if facts.convertible and (outcome.missed or outcome.wrong or outcome.failures):
            why = "; ".join([*outcome.failures.values(), *outcome.notes[:1]])
            text += f"* `{facts.name}`: {outcome.missed} missed, {outcome.wrong} wrong: {why[:300]}\n"
    strangers = tuple(published.load(folder))
    return text + ("\n" + published.table(strangers) if strangers else "")


__doc_text__ = """\
Made by `python -m models.zoo`. *True blocks* are counted in the source network, by the classes of its modules or the
names of its layers, with the sizes of their maps; *found* are the blocks of any kind that agree with one of them in kind,
channels and size; *wrong* is what is found beyond that. *Refused by design* are blocks in a form that has no exact tiles:
quantisation whose scales depend on the descriptor itself. Each model is converted with strips of 3 and of 7 rows, and verified
block by block. Weights are random. The rows after a tool are those of a few networks (`models.zoo derive DIR MODEL ...`).
"""


def _results(folder: Path) -> Iterator[tuple[Facts, Outcome]]:
    for path, facts in load(folder):
        if outcome_path(path).exists():
            read = json.loads(outcome_path(path).read_text())
            yield facts, Outcome(**{**read, "notes": tuple(read["notes"])})


def _grouped(results: Iterable[tuple[Facts, Outcome, tuple[str, ...]]]) -> list[tuple[tuple[str, ...], _Row]]:
    rows: dict[tuple[str, ...], _Row] = defaultdict(_Row)
    for facts, outcome, key in results:
        rows[key].add(facts, outcome)
    return sorted(rows.items())
