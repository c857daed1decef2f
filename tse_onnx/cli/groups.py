"""Options that belong together: a command gets what they come to, not each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

Command = Callable[..., Any]
Option = Callable[[Command], Command]


def group(options: Sequence[Option], made: Callable[..., Mapping[str, Any]]) -> Option:
    """A decorator that gives a command `options` and calls it with what is `made` of their values, by name."""

    names = names_of(options)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            given = {name: values.pop(name) for name in names}
            return command(**made(**given), **values)

        for option in reversed(options):
            option(wrapped)
        return wrapped

    return decorate


def names_of(options: Sequence[Option]) -> list[str]:
    """The names under which a command would get the values of these options."""

    def bare() -> None: ...

    for option in reversed(options):
        option(bare)
    parameters: list[click.Parameter] = bare.__click_params__  # type: ignore[attr-defined]
    return [str(parameter.name) for parameter in reversed(parameters)]


def given(ctx: click.Context, names: Collection[str]) -> list[str]:
    """Those of a command's options that the user gave, as they are spelled."""
    return [
        option.opts[-1]
        for option in ctx.command.params
        if option.name in names and ctx.get_parameter_source(option.name) == ParameterSource.COMMANDLINE
    ]
