"""Model scripts of Hailo's Dataflow Compiler (.alls): the lines that tile squeezes there, written and read.

A script is a command to a line, `command(argument, …, key=value, …)`, its results before an `=` where it has any. A
value is a number, a word (a layer, a mode), a text in quotes, a list in brackets, or a pattern of layers in braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Union

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import printable

Value = Union[int, float, bool, str, tuple["Value", ...]]

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)|(?P<end>\n)|(?P<mark>[()\[\],=])|(?P<pattern>\{[^{}\n]*\})"""
    r"""|(?P<text>"[^"\n]*"|'[^'\n]*')|(?P<word>[^\s()\[\]{},=\#"']+)"""
)
_OPTIMIZATION, _SQUEEZE = "pre_quantization_optimization", "se_optimization"
_DEEPEST = 20


@dataclass(frozen=True)
class Command:
    """One line of a script: what it is called, its arguments by place and by key, and the names of its results."""

    name: str
    arguments: tuple[Value, ...]
    settings: Mapping[str, Value]
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstTiles:
    """The tiles of the first `count` squeezes in order, `height` rows in each."""

    count: int
    height: int

    @property
    def line(self) -> str:
        """The command that says so."""
        said = f"method=tse, mode=sequential, count={self.count}, tile_height={self.height}"
        return f"{_OPTIMIZATION}({_SQUEEZE}, {said})"


def first_tiles(commands: Iterable[Command]) -> FirstTiles | None:
    """What a script says of squeezes; None where it says nothing. Raises `UsageError` where it says something else."""
    for command in commands:
        if command.name == _OPTIMIZATION and command.arguments[:1] == (_SQUEEZE,):
            said = command.settings
            count, height = said.get("count"), said.get("tile_height")
            if (said.get("method"), said.get("mode")) != ("tse", "sequential"):
                raise UsageError(f"{_SQUEEZE} has another method or mode than tse and sequential")
            if type(count) is not int or type(height) is not int or count < 0 or height < 1:
                raise UsageError(f"{_SQUEEZE} needs a count and a tile_height, whole numbers")
            return FirstTiles(count, height)
    return None


def parse_alls(text: str, title: str = "the script") -> tuple[Command, ...]:
    """The commands of a script, which messages call `title`. Raises `UsageError` with the line that is none."""
    return tuple(_Reader(text, title).commands())


class _Reader:
    def __init__(self, text: str, title: str) -> None:
        self._title = title
        self._tokens = list(self._read(text))
        self._next = 0

    def commands(self) -> Iterator[Command]:
        while True:
            while self._taken("end"):
                pass
            if self._kind() == "":
                return
            yield self._command()

    def _read(self, text: str) -> Iterator[tuple[str, str, int]]:
        place, line = 0, 1
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._wrong(line, text[place])
            place, kind = found.end(), str(found.lastgroup)
            if kind != "space":
                yield kind, found[0], line
            line += kind == "end"
        yield "end", "\n", line
        yield "", "", line

    def _command(self) -> Command:
        names = [self._word()]
        while self._taken("mark", ","):
            names.append(self._word())
        results: tuple[str, ...] = ()
        if self._taken("mark", "="):
            results, names = tuple(names), [self._word()]
        if len(names) != 1 or not self._taken("mark", "("):
            raise self._wrong_here()
        arguments: list[Value] = []
        settings: dict[str, Value] = {}
        while not self._closed(")"):
            value = self._value(0)
            if isinstance(value, str) and self._taken("mark", "="):
                settings[value] = self._value(0)
            elif settings:
                raise self._wrong_here()  # an argument by its place behind one by its key
            else:
                arguments.append(value)
            self._comma(")")
        if not self._taken("end"):
            raise self._wrong_here()
        return Command(names[0], tuple(arguments), settings, results)

    def _value(self, depth: int) -> Value:
        self._lines()
        kind, text, _ = self._tokens[self._next]
        if kind == "mark" and text == "[" and depth < _DEEPEST:
            self._next += 1
            entries: list[Value] = []
            while not self._closed("]"):
                entries.append(self._value(depth + 1))
                self._comma("]")
            return tuple(entries)
        if kind not in ("word", "text", "pattern"):
            raise self._wrong_here()
        self._next += 1
        if kind == "text":
            return text[1:-1]
        return text if kind == "pattern" else _plain(text)

    def _closed(self, mark: str) -> bool:
        self._lines()
        return self._taken("mark", mark)

    def _comma(self, closing: str) -> None:
        self._lines()
        kind, text, _ = self._tokens[self._next]
        if not self._taken("mark", ",") and (kind, text) != ("mark", closing):
            raise self._wrong_here()

    def _lines(self) -> None:
        """Pass over line ends: within brackets they mean nothing."""
        while self._taken("end"):
            pass

    def _word(self) -> str:
        kind, text, _ = self._tokens[self._next]
        if kind != "word":
            raise self._wrong_here()
        self._next += 1
        return text

    def _kind(self) -> str:
        return self._tokens[self._next][0]

    def _taken(self, kind: str, text: str = "") -> bool:
        found = self._tokens[self._next]
        if found[0] != kind or (text and found[1] != text):
            return False
        self._next += 1
        return True

    def _wrong_here(self) -> UsageError:
        _, text, line = self._tokens[self._next]
        return self._wrong(line, text)

    def _wrong(self, line: int, text: str) -> UsageError:
        there = "its end" if not text.strip() else f"'{printable(text[:40])}'"
        return UsageError(f"{self._title}, line {line}: {there} is not where a command(argument, key=value) has it")


def _plain(word: str) -> Value:
    if word in ("True", "False"):
        return word == "True"
    if re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        return int(word)
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", word):
        return float(word)
    return word
