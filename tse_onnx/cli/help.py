"""What `--help` prints: options and commands under headings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from tse_onnx.cli.headings import COMMANDS, OPTIONS, OTHERS, heading_of

_OPTION, _COMMAND = 26, 12
"""Columns of a name in a list: what is said of the names begins in one column under every heading."""


class Command(click.Command):
    """A command whose options are listed under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of a command under their headings."""
    listed: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*OPTIONS, OTHERS)}
    for option in command.get_params(ctx):
        if isinstance(option, click.Option) and (record := option.get_help_record(ctx)) is not None:
            listed[heading_of(command.name or "", long_name(option))].append(record)
    for heading, records in listed.items():
        _write(formatter, heading, records, _OPTION)


def write_commands(commands: Iterable[str], formatter: click.HelpFormatter) -> None:
    """Write what there is of these commands under their headings."""
    there = set(commands)
    for heading, told in COMMANDS.items():
        _write(formatter, heading, [(name, words) for name, words in told.items() if name in there], _COMMAND)


def long_name(option: click.Parameter) -> str:
    """What an option is called, without hyphens in front: the long name, if it has one."""
    return max(option.opts, key=len).lstrip("-")


def _write(formatter: click.HelpFormatter, heading: str, records: Sequence[tuple[str, str]], column: int) -> None:
    if records:
        with formatter.section(heading):
            formatter.write_dl([(f"{name:<{column}}", words) for name, words in records], col_max=column)
