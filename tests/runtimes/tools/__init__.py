"""The tools, a file for each: every file of this folder has TOOLS, and imports the tool itself where it loads a model."""

from __future__ import annotations

import importlib
import pkgutil

from tests.runtimes.tool import Tool


def tools() -> dict[str, Tool]:
    """All of them, by name."""
    files = [importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
    return {tool.name: tool for file in files for tool in file.TOOLS}
