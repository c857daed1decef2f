"""Mutation testing of the graph passes: change one thing in them, and see whether the tests notice.

    python -m tests.mutation [--module FILE]… [--sample N] [--seed S] [--minutes M] [--results FILE] [--tests FILE …]

The mutations are cosmic-ray's (`pip install '.[mutation]'`), its runs are not: it starts an interpreter for each mutant,
most of whose time goes into importing onnx and onnxruntime, and it works on the files of the checkout. Here one process
imports what the tests need of others and forks for each mutant; the mutated source is given to the import system and no
file is touched. Without --module all of `passes/` is mutated, without --sample every place of it. Finished mutants are
kept in the results file, one line of JSON each, and are not run again, so that a run can be stopped and continued; a line
that has changed since is a new mutant. Exits 1 if a mutant survived that docs/mutation.md does not explain.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSES = ROOT / "passes"
EXPLAINED = ROOT / "docs" / "mutation.md"
# Quick, and between them about every form, lowering and refusal.
TESTS = ("test_lowerings", "test_flat", "test_near_misses", "test_kinds", "test_zoo_finds")
_LIMIT = 60  # seconds of the processor for one mutant: a loop that does not end is noticed
# Operators that change nothing: `int | None` is no arithmetic, and small numbers and letters are one object each.
_IDLE = ("ReplaceBinaryOperator_BitOr", "ReplaceComparisonOperator_Eq_Is", "ReplaceComparisonOperator_NotEq_Is")

Key = tuple[str, str, str]
"""A mutant wherever the lines around it move: the file, the line, and what becomes of it."""


@dataclass(frozen=True)
class Mutant:
    """One change: cosmic-ray's `operator` at its `occurrence`-th place in `module`, which turns a line into another."""

    module: str
    operator: str
    occurrence: int
    line: str
    changed: str

    @property
    def key(self) -> Key:
        """What it is, for the results and for the list of what is explained."""
        return self.module, self.line, self.changed


def places(module: str) -> Iterator[tuple[str, str, int]]:
    """Where a file of the checkout can be mutated: the file, the operator and its occurrence."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    nodes = list(ast_nodes(get_ast((ROOT / module).read_text(encoding="utf-8"))))
    for name in sorted(plugins.operator_names()):
        operator = plugins.get_operator(name)
        if any(idle in name for idle in _IDLE) or operator.arguments():
            continue
        for occurrence in range(sum(len(list(operator().mutation_positions(node))) for node in nodes)):
            yield module, name, occurrence


def mutated(module: str, name: str, occurrence: int) -> tuple[Mutant, str] | None:
    """The mutant at a place, with the whole mutated source; None where nothing changes."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / module).read_text(encoding="utf-8")
    changed = mutate_code(source, plugins.get_operator(name)(), occurrence)
    if changed is None or changed == source:
        return None
    return Mutant(module, name.rpartition("/")[2], occurrence, *_difference(source, changed)), changed


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that are replaced, and those in their place, each as one."""
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[:1] in "+-"]
    joined = [" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+"]
    return joined[0], joined[1]


def survives(mutant: Mutant, source: str, tests: Sequence[str]) -> str:
    """What the tests say of a mutant: killed, slow (killed by the time limit) or survived."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = _tested(ROOT / mutant.module, source, tests)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "survived" if code == 0 else "slow" if code == -signal.SIGXCPU else "killed"


def _tested(path: Path, source: str, tests: Sequence[str]) -> int:
    """In the child: import the product with one file replaced, and run the tests until one fails."""
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT, _LIMIT + 5))
    read = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> object:
        if Path(loader.path) == path:
            return compile(source, str(path), "exec")
        return read(loader, name)

    for name in [name for name in sys.modules if name.split(".")[0] in ("tse_onnx", "tests")]:
        del sys.modules[name]
    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    given = [str(next((ROOT / "tests").rglob(f"{name}.py"))) for name in tests]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", *given]))


def explained(text: str) -> set[Key]:
    """The survivors that the document explains: rows of `module`, `line`, `changed` and a reason."""
    rows = (line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `"))
    cells = ([cell.strip().strip("`").replace("\\|", "|") for cell in row] for row in rows)
    return {(row[0], row[1], row[2]) for row in cells if len(row) == 4}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument(
        "--module", action="append", default=[], help="a file of the checkout, as passes/search/match.py"
    )
    parser.add_argument("--sample", type=int, help="so many mutants, drawn by --seed, in place of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survivors", action="store_true", help="run again what survived, after tests were added")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutation.jsonl")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="names of test files, without .py")
    options = parser.parse_args(arguments)
    modules = options.module or sorted(str(path.relative_to(ROOT)) for path in PASSES.rglob("*.py"))
    unread = [module for module in modules if not (ROOT / module).is_file()]
    if unread:
        parser.error(f"{unread[0]} is no file of the checkout")
    results = _kept(options.results)
    found = [place for module in modules for place in places(module)]
    if options.survivors:
        left = {key for key, outcome in results.items() if outcome == "survived"}
        where = {(old["module"], old["operator"]) for old in _lines(options.results) if _key(old) in left}
        found = [place for place in found if (place[0], place[1].rpartition("/")[2]) in where]
        every = {made[0].key: made for place in found if (made := mutated(*place)) is not None}
        chosen = [every[key] for key in sorted(left & set(every))]
        results = {key: outcome for key, outcome in results.items() if key not in left & set(every)}
    else:
        random.Random(options.seed).shuffle(found)
        chosen = [made for place in found[: options.sample] if (made := mutated(*place)) is not None]
    results = _run(chosen, results, options.results, options.tests, options.minutes)
    return _summary(results, {mutant.key for mutant, _ in chosen})


def _kept(path: Path) -> dict[Key, str]:
    """What earlier runs have found; the last one counts."""
    return {_key(found): found["outcome"] for found in _lines(path)}


def _lines(path: Path) -> list[dict[str, str]]:
    return list(map(json.loads, path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def _key(found: Mapping[str, str]) -> Key:
    return found["module"], found["line"], found["changed"]


def _run(
    chosen: Sequence[tuple[Mutant, str]],
    results: Mapping[Key, str],
    kept: Path,
    tests: Sequence[str],
    minutes: float,
) -> Mapping[Key, str]:
    import hypothesis  # noqa: F401 - what every child needs of others is imported once
    import onnx_graphsurgeon  # noqa: F401
    import onnxruntime  # noqa: F401
    import pytest  # noqa: F401

    results = dict(results)
    kept.parent.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * minutes
    with kept.open("a", encoding="utf-8") as file:
        for mutant, source in chosen:
            if mutant.key in results:
                continue
            if time.monotonic() > ends:
                break
            results[mutant.key] = outcome = survives(mutant, source, tests)
            file.write(json.dumps({**asdict(mutant), "outcome": outcome}) + "\n")
            file.flush()
            print(f"{outcome:8} {mutant.module}: {mutant.line}  →  {mutant.changed}", flush=True)
    return results


def _summary(results: Mapping[Key, str], chosen: set[Key]) -> int:
    done = {key: outcome for key, outcome in results.items() if key in chosen}
    reasons = explained(EXPLAINED.read_text(encoding="utf-8"))
    for module in sorted({key[0] for key in done}):
        counts = Counter(outcome for key, outcome in done.items() if key[0] == module)
        print(f"{module}: {sum(counts.values())} mutants, {counts['killed']} killed, {counts['slow']} by the time limit, "
              f"{counts['survived']} survived")  # fmt: skip
    left = sorted(key for key, outcome in done.items() if outcome == "survived" and key not in reasons)
    for module, line, changed in left:
        print(f"not explained: {module}: {line}  →  {changed}")
    print(f"{len(done)} of {len(chosen)} mutants run; {len(left)} survivors are not explained.")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
