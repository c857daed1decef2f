"""What the text of an option becomes, where click knows no type for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from tse_onnx.passes.graph.types import Dim

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_LARGEST_DIM = 2**63 - 1


def _reader(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """An option's callback that reads its text; the `ValueError` of `read` says what is wrong with it."""

    def callback(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else read(text)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option.opts[-1]) from None

    return callback


@_reader
def part(text: str) -> float:
    """A fraction, as 75% or 0.75."""
    matched = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(%?)", text.strip())
    found = float(matched[1]) / (100 if matched[2] else 1) if matched else 2.0
    if not 0 <= found <= 1:
        raise ValueError(f"{text!r} is no part of a whole, as 75% or 0.75")
    return found


@_reader
def percent(text: str) -> float:
    """Per cent, as 40 or 40%."""
    matched = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*%?", text.strip())
    if matched is None or not float(matched[1]) <= 100:
        raise ValueError(f"{text!r} is no number of per cent from 0 to 100, as 40")
    return float(matched[1])


@_reader
def size(text: str) -> int:
    """A number of bytes, as 1.2MiB."""
    matched = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", text.strip())
    unit = matched[2].lower() if matched else None
    if matched is None or unit not in _UNITS:
        raise ValueError(f"{text!r} is no size, as 1.2MiB, 900KB or 1200000")
    return int(float(matched[1]) * _UNITS[unit])


@_reader
def words(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return _split(text)


@_reader
def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 on between commas."""
    parts = _split(text)
    if not parts or not all(part.isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise ValueError(f"{text!r} is no list of whole numbers from 1 on, as 1,3,7")
    return tuple(map(int, parts))


@_reader
def kinds(text: str) -> frozenset[str]:
    """Kinds of blocks between commas, as a set."""
    from tse_onnx.passes.blocks.block import KINDS

    found = frozenset(_split(text))
    if found == {"all"}:
        return frozenset(KINDS)
    if not found or not found <= KINDS.keys():
        raise ValueError(f"{text!r} is not a list of {', '.join(KINDS)}, or all")
    return found


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def shapes(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, tuple[Dim, ...]]:
    """The values of `--input-shape` as a mapping; the name "" stands for the only input."""
    found: dict[str, tuple[Dim, ...]] = {}
    for value in values:
        name, _, dims = value.rpartition(":")
        if name in found:
            _refuse(f"{name or 'the only input'} is given twice")
        found[name] = tuple(_dim(part.strip(), value) for part in dims.split(","))
    return found


def _dim(text: str, whole: str) -> Dim:
    if text.isdecimal() and 0 < int(text) <= _LARGEST_DIM:
        return int(text)
    if text == "?":
        return None
    if text.isidentifier():
        return text
    _refuse(f"{whole!r} is not [NAME:]DIMS: {text!r} should be a positive number, ? or a word")


def _refuse(text: str) -> NoReturn:
    raise click.BadParameter(text, param_hint="--input-shape")
