"""Put converted models before other people's tools, and say what comes out:

    python -m tests.runtimes [TOOL ...] [--forms PATTERN ...] [--settings NAME ...] [--networks NAME ...]
        [--target] [--folder DIR] [--output FILE.json] [--markdown FILE]

Each tool is installed by name and version in an environment of its own, which is kept. A small network is written in every
form and setting; what the tool makes of it is held to onnxruntime without optimisations, and to what the tool makes of
the original. With --target only the forms are tried that a tool's profile picks, as `convert --target` does: then a
refusal where the original is taken, and numbers that are wrong, are faults, and the exit code is 1. With --networks
bundled networks are timed as well, before and after, in the tools that are quick.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from pathlib import Path

from tests.runtimes.environment import FOLDER, NotInstalled, command, environment, variables
from tests.runtimes.forms import FORMS, chosen_for
from tests.runtimes.judge import FAULTS
from tests.runtimes.latency import Latency, latency
from tests.runtimes.networks import SETTINGS
from tests.runtimes.server import Server
from tests.runtimes.table import as_json, markdown
from tests.runtimes.tools import tools
from tests.runtimes.trial import ORIGINAL, Cell, tried


def main() -> int:
    """Print a line for each fault, and the counts; 1 where a tool is missing, or with --target there is a fault."""
    every = tools()
    parser = _parser(list(every))
    options = parser.parse_args()
    for name in options.tools:  # argparse has no choices for a list that may be empty
        if name not in every:
            parser.error(f"a tool is {', '.join(every)}, not '{name}'")
    chosen = [every[name] for name in options.tools or every]
    if options.target:
        chosen = [tool for tool in chosen if tool.target is not None]
    cells: list[Cell] = []
    missing: dict[str, str] = {}
    latencies: list[Latency] = []
    for tool in chosen:
        try:
            home = environment(tool, options.folder)
        except NotInstalled as error:
            missing[tool.name] = str(error)
            print(error)
            continue
        forms = chosen_for(tool.target) if options.target and tool.target is not None else FORMS
        forms = tuple(form for form in forms if any(fnmatch.fnmatch(form.name, given) for given in options.forms))
        with Server(command(tool, home), variables(home)) as server:
            own = list(tried(tool, server, forms, options.settings))
            latencies += [latency(tool, server, name) for name in options.networks if tool.quick]
        cells += own
        for cell in own:
            if cell.result.outcome in FAULTS:
                print(_line(cell))
        faulty = sum(cell.result.outcome in FAULTS and cell.form != ORIGINAL for cell in own)
        kept = dict.fromkeys(cell.form for cell in own if cell.form != ORIGINAL and not cell.converted)
        told = f"; left as they are in some settings: {', '.join(kept)}" if options.target and kept else ""
        print(
            f"{tool.title}: {faulty} of {sum(cell.form != ORIGINAL for cell in own)} cells are faulty{told}", flush=True
        )
    for one in latencies:
        print(f"{one.tool}: {one.network}: {one.ratio if one.ratio is None else f'{one.ratio:.2f}'} {one.result.why}")
    for path, text in (
        (options.output, json.dumps(as_json(chosen, cells, missing, latencies), indent=1) + "\n"),
        (options.markdown, markdown(chosen, cells, missing, latencies)),
    ):
        if path is not None:
            path.write_text(text, encoding="utf-8")
    faults = any(cell.result.outcome in FAULTS and cell.form != ORIGINAL for cell in cells)
    return 1 if missing or (options.target and faults) else 0


def _line(cell: Cell) -> str:
    result = cell.result
    told = result.why or f"{result.sqnr:.1f} dB"
    where = ", ".join(word for word in (cell.form, cell.setting, cell.rows) if word)
    return f"{cell.tool}: {where}: {result.outcome.value}: {told}"


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.runtimes", description="Converted models in other tools.")
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"{', '.join(names)} (default: all)")
    parser.add_argument("--forms", nargs="+", default=["*"], metavar="PATTERN", help="forms that fit, as 'strips*'")
    parser.add_argument("--settings", nargs="+", default=[], choices=[one.name for one in SETTINGS], metavar="NAME")
    parser.add_argument("--networks", nargs="+", default=[], metavar="NAME", help="bundled networks to time")
    parser.add_argument(
        "--target", action="store_true", help="the forms that the tools' profiles pick, without a fault"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="where the environments are kept")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write everything there as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
