"""Defaults for options out of a file: `tse-onnx.toml`, or the table `tool.tse-onnx` of a `pyproject.toml`, the nearest
upward from the working directory."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tse_onnx.cli.diagnosis import Log
from tse_onnx.cli.help import long_name
from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import quoted

_OWN, _SHARED, _TOOL = "tse-onnx.toml", "pyproject.toml", "tse-onnx"
_NAMED, _NONE = "tse_onnx.config", "tse_onnx.no_config"
_FOUND, _UNUSED = "tse_onnx.found_config", "tse_onnx.unused_config"
_WHAT = "configuration"

REACHING_OUT = frozenset({
    "output", "model-output", "report", "csv", "plot", "html", "alls", "cache", "checkpoint", "scheduler",
})  # fmt: skip
"""Options that say where something is written or sent: a file that is found by itself may not."""
_NEVER = frozenset({"help", "version", "config", "no-config", "verbose", "debug"})


@dataclass(frozen=True)
class _Found:
    title: str
    folder: Path
    table: Mapping[str, Any]
    named: bool
    """Whether the user has named it, and not the place where it lies."""


@dataclass(frozen=True)
class Configured:
    """What a command takes from a file: its `options` by name as that has them, and the `words` that would say them on
    the command line."""

    file: str
    options: Mapping[str, Any]
    words: Sequence[str]

    def json(self) -> dict[str, Any]:
        """What a program is told of it."""
        return {"file": self.file, "options": dict(self.options)}

    def __str__(self) -> str:
        return f"{self.file}: {'; '.join(_spelled(self.options))}"


def configured(ctx: click.Context) -> Configured | None:
    """What the command of a context takes from a file; None where that is nothing."""
    found: _Found | None = ctx.meta.get(_FOUND)
    if found is None:
        return None
    table = {**found.table, **found.table.get(ctx.command.name or "", {})}
    taken = {
        long_name(option): option
        for option in ctx.command.params
        if ctx.get_parameter_source(str(option.name)) == ParameterSource.DEFAULT_MAP
        and option.name not in ctx.meta.get(_UNUSED, ())
    }
    if not taken:
        return None
    words = [word for name, option in taken.items() for word in _words(found, option, name, table[name])]
    return Configured(found.title, {name: table[name] for name in taken}, words)


def leave_out(ctx: click.Context, names: Collection[str]) -> None:
    """What a file says of these options is of no use to this run."""
    ctx.meta[_UNUSED] = {*ctx.meta.get(_UNUSED, ()), *names}


def _words(found: _Found, option: click.Parameter, name: str, value: Any) -> list[str]:
    assert isinstance(option, click.Option)
    read = _value(found, option, name, value)
    if isinstance(read, bool):
        spelled = (option.opts if read else option.secondary_opts)[:1]
        return list(spelled)
    return [f"--{name}={word}" for word in (read if option.multiple else [read])]


def configuration_options() -> list[click.Parameter]:
    """The options of the program that say which file its defaults are from."""

    def keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        ctx.meta[_NAMED if long_name(option) == "config" else _NONE] = value

    shared: dict[str, Any] = {"expose_value": False, "callback": keep}
    return [
        click.Option(
            ["--config"], type=click.Path(path_type=Path), metavar="FILE", **shared,
            help=f"Take the defaults of options from this file.  [default: the nearest {_OWN}, or {_SHARED} with a "
            f"table tool.{_TOOL}, upward from here]",
        ),
        click.Option(["--no-config"], is_flag=True, **shared, help="Take no defaults from a file."),
    ]  # fmt: skip


def configure(ctx: click.Context, group: click.Group) -> None:
    """Give the context of a program the defaults of its commands' options. Raises `UsageError`."""
    named: Path | None = ctx.meta.get(_NAMED)
    if ctx.meta.get(_NONE):
        if named is not None:
            raise UsageError("--config and --no-config exclude each other")
        return
    found = _read(named) if named is not None else _nearest(Path.cwd())
    if found is None:
        return
    ctx.default_map = _defaults(found, group)
    ctx.meta[_FOUND] = found
    ctx.ensure_object(Log).note(f"defaults of {found.title}: {'; '.join(_spelled(found.table)) or 'none'}")


def _nearest(folder: Path) -> _Found | None:
    for here in (folder, *folder.parents):
        if (here / _OWN).is_file():
            return _read(here / _OWN, named=False)
        with_table = here / _SHARED
        try:
            concerned = _TOOL in with_table.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if concerned and (found := _read(with_table, named=False)).table:
            return found
    return None


def _read(path: Path, named: bool = True) -> _Found:
    from tse_onnx.files.toml import parse_toml, read_toml

    table = parse_toml(read_toml(path, _WHAT), str(path))
    if path.name == _SHARED:
        for key in ("tool", _TOOL):
            table = table.get(key, {})
            if not isinstance(table, dict):
                raise UsageError(f"{path}: {key} is no table")
    shown = path if named else Path(os.path.relpath(path))
    return _Found(str(shown), shown.parent, table, named)


def _defaults(found: _Found, group: click.Group) -> dict[str, dict[str, Any]]:
    """The defaults of each command by the names of its parameters: those of all commands, then its own."""
    commands = {name: _options(command) for name, command in group.commands.items()}
    known = {name for options in commands.values() for name in options}
    for key, value in found.table.items():
        if isinstance(value, dict):
            _need(found, key, commands, "no command is called")
            for name in value:
                _need_option(found, name, commands[key], f"{key} has no option")
        else:
            _need_option(found, key, known, "no command has an option")
    return {
        command: {
            str(options[name].name): _value(found, options[name], name, value)
            for name, value in (*found.table.items(), *found.table.get(command, {}).items())
            if name in options and not (name in commands and isinstance(value, dict))
        }
        for command, options in commands.items()
    }


def _spelled(table: Mapping[str, Any]) -> Iterator[str]:
    """What a file says, in a line."""
    for name, value in table.items():
        yield f"{name}: {', '.join(_spelled(value))}" if isinstance(value, dict) else f"{name} = {value!r}"


def _options(command: click.Command) -> dict[str, click.Option]:
    return {
        long_name(option): option
        for option in command.params
        if isinstance(option, click.Option) and long_name(option) not in _NEVER
    }


def _need(found: _Found, name: str, known: Iterable[str], why: str) -> None:
    from tse_onnx.files.toml import did_you_mean

    if name not in known:
        hint = did_you_mean(name, known)
        raise UsageError(f"{found.title}: {why} {quoted(name)}" + (f"; {hint}" if hint else ""))


def _need_option(found: _Found, name: str, known: Iterable[str], why: str) -> None:
    _need(found, name, known, why)
    if name in REACHING_OUT and not found.named:
        raise UsageError(
            f"{found.title}: {name} says where something is written or sent: on the command line alone, or in a file "
            "that --config names"
        )


def _value(found: _Found, option: click.Option, name: str, value: Any) -> Any:
    """A value as click takes it from the command line: words, of which some options take several."""
    if option.is_flag or option.secondary_opts:
        if not isinstance(value, bool):
            raise UsageError(f"{found.title}: {name} has to be true or false, not {value!r}")
        return value
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in listed):
        raise UsageError(f"{found.title}: {name} has to be a number or a text, or a list of these, not {value!r}")
    words = [_placed(found, option, str(one)) for one in listed]
    return words if option.multiple else ",".join(words)


def _placed(found: _Found, option: click.Option, word: str) -> str:
    """A file is named from the folder of the configuration, wherever the program runs."""
    named = isinstance(option.type, click.Path) or word.endswith(".toml")
    return str(found.folder / word) if named and word != "-" else word
