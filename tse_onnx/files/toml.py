"""Read what users write in TOML, with an answer to every mistake."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import quoted


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
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
            raise UsageError(f"{where}: there is no key {quoted(key)}; {hint}")
