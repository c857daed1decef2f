"""Find, convert and verify every model of a folder, and compare with what its source network has.

A block that is found answers to a true one if kind, channels and size of the map agree. What is found beyond that is
wrong; what answers to nothing is missed. The result of each model is written beside it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tse_onnx
from models.zoo.facts import Facts, load
from tse_onnx.passes.blocks.block import KINDS

ROWS = (3, 7)


@dataclass(frozen=True)
class Outcome:
    """What came of one model: blocks found, missed and wrong, and for each tile height whether the conversion passed.

    `codes` are the reasons of everything that was refused; `notes` say more of what is missed, wrong or failed.
    """

    found: int
    missed: int
    wrong: int
    converted: dict[str, int]
    failures: dict[str, str]
    codes: dict[str, int]
    notes: tuple[str, ...]
    seconds: float


def make(folder: Path, names: Sequence[str]) -> None:
    """Check every model of the folder that has no result yet, or the named ones."""
    for path, facts in load(folder):
        if names and facts.name not in names and facts.network not in names:
            continue
        result = outcome_path(path)
        if result.exists() and not names:
            continue
        outcome = check(path, facts)
        result.write_text(json.dumps(asdict(outcome), indent=1))
        print(
            f"{facts.name}: {outcome.found} of {len(facts.modules)}, {outcome.wrong} wrong, "
            f"converted {outcome.converted}, {outcome.codes} {outcome.failures} {list(outcome.notes)}",
            flush=True,
        )


def outcome_path(model: Path) -> Path:
    """Where the result of a model lies."""
    return model.with_suffix(".outcome.json")


def check(path: Path, facts: Facts) -> Outcome:
    """Compare what is found in the model with its facts, and convert it with strips of `ROWS` rows."""
    start = time.perf_counter()
    true = Counter((module.kind, module.channels, module.height, module.width) for module in facts.modules)
    notes: list[str] = []
    codes: Counter[str] = Counter()
    found: Counter[tuple[str, int, int, int]] = Counter()
    try:
        blocks = tse_onnx.find_blocks(path, kinds=tuple(KINDS))
    except tse_onnx.TseError as error:
        return Outcome(0, len(facts.modules), 0, {}, {"find": str(error)}, {}, (), time.perf_counter() - start)
    for block in blocks:
        if block.refusal is not None:
            codes[block.refusal.code] += 1
            if block.refusal.code not in ("head",):
                notes.append(str(block.refusal))
        else:
            height, width = (*block.extents, None, None)[:2]
            found[block.kind, block.channels or 0, height or 0, width or 0] += 1
    missed, wrong = true - found, found - true
    notes.extend(f"missed: {key} x {count}" for key, count in missed.items())
    notes.extend(f"wrong: {key} x {count}" for key, count in wrong.items())
    converted, failures = {}, {}
    for rows in ROWS:
        try:
            result = tse_onnx.convert(path, rows=rows, kinds=tuple(KINDS), threads=1)
        except tse_onnx.TseError as error:
            failures[str(rows)] = str(error)[:2000]
        else:
            converted[str(rows)] = result.report.buffering.totals.converted
    return Outcome(
        (found & true).total(), missed.total(), wrong.total(), converted, failures, dict(codes),
        tuple(_shortened(notes)), time.perf_counter() - start,
    )  # fmt: skip


def _shortened(notes: Sequence[str]) -> Iterator[str]:
    for note in notes[:12]:
        yield note[:400]
