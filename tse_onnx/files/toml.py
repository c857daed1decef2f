"""Read what users write in TOML, with an answer to every mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import printable, quoted

Known = TypeVar("Known")


def named_or_read(
    value: Union[str, os.PathLike[str]],
    known: Mapping[str, Known],
    parse: Callable[[str, str], Known],
    *,
    what: str,
    wrong: str,
) -> Known:
    """One of the `known` by its name, or what `parse` makes of a .toml file, called by its path. Raises `UsageError`:
    for a file that is no `what`, and, with `wrong` of the names and the value, for what is neither."""
    if isinstance(value, str) and value in known:
        return known[value]
    path = Path(value)
    if path.suffix.lower() != ".toml":
        hint = did_you_mean(str(value), known)
        raise UsageError(wrong.format(", ".join(known), quoted(str(value))) + (f"; {hint}" if hint else ""))
    return parse(read_toml(path, what), str(path))


def read_toml(path: Path, what: str) -> str:
    """The text of a file. Raises `UsageError` where it cannot be read as one; messages say that it is no `what`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no {what}: byte {error.start} is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the {what} {path}: {getattr(error, 'strerror', None) or error}") from error


def parse_toml(text: str, title: str) -> dict[str, Any]:
    """The tables in a text, which messages call `title`. Raises `UsageError` where it is not TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOML's own, and that of a number with thousands of digits
        raise UsageError(f"{title} is not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{title} nests too deep") from None


def need_keys(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Raise `UsageError` for a key that is none of `keys`, with the nearest of them."""
    keys = tuple(keys)
    for key in table:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"there are {', '.join(keys)}"
            raise UsageError(f"{where}: there is no key {quoted(key)}; {hint}")


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """A question after the nearest of the names that are known; "" where none is near."""
    import difflib  # for those who err

    near = difflib.get_close_matches(value, list(known), 1)
    return f"did you mean {printable(near[0])}?" if near else ""
