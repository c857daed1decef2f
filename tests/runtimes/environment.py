"""An environment for each tool, made once: a folder with the packages that the tool names, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.runtimes.tool import Tool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "runtimes"


class NotInstalled(Exception):
    """A tool cannot be installed here."""


def environment(tool: Tool, folder: Path = FOLDER) -> Path:
    """The environment of a tool below `folder`, made if it is not there as the tool wants it. Raises `NotInstalled`."""
    home = folder / tool.name
    wanted = "\n".join((*tool.requirements, *tool.packages))
    mark = home / "installed.txt"
    if mark.exists() and mark.read_text() == wanted:
        return home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _do(tool, [sys.executable, "-m", "venv", str(home)])
    if tool.requirements:
        _do(tool, [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *tool.requirements])
    if tool.packages:
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise NotInstalled(f"{tool.name} cannot be installed here: there is no node with npm")
        (home / "package.json").write_text('{"private": true}\n')
        _do(tool, ["npm", "install", "--silent", "--prefix", str(home), *tool.packages])
    mark.write_text(wanted)
    return home


def command(tool: Tool, home: Path) -> list[str]:
    """What starts the server of a tool, from ROOT."""
    return [str(home / "bin" / "python"), "-m", "tests.runtimes.serve", tool.name]


def variables(home: Path) -> Mapping[str, str]:
    """What the environment of that process says: nothing of the one that this process stands in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"NODE_HOME": str(home), "OMP_NUM_THREADS": "1"}


def _do(tool: Tool, words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
        why = said[-1].strip() if said else f"{words[0]} ended with {done.returncode}"
        raise NotInstalled(f"{tool.name} cannot be installed here: {why}")
