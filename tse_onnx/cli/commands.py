"""The commands, each imported when it is asked for: a run of the program is one of them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

from tse_onnx.cli.diagnosis import diagnosis_options
from tse_onnx.cli.headings import COMMANDS

# A command stands in the file of its name, but for those that share another's.
_WITH = {"sensitivity": "tune"}


class Commands(MutableMapping[str, click.Command]):
    """The commands under `COMMANDS`, by their names; each has the options for diagnosis beside its own."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command | None] = {name: None for told in COMMANDS.values() for name in told}

    def __getitem__(self, name: str) -> click.Command:
        command = self._loaded[name]
        if command is None:
            command = self._loaded[name] = getattr(import_module(f"tse_onnx.cli.{_WITH.get(name, name)}"), name)
            command.params.extend(diagnosis_options())
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
