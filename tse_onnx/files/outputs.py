"""What a caller names as an output, before it is the path of a file."""

from __future__ import annotations

import os
from pathlib import Path

from tse_onnx.errors import ModelError


def file_path(out: str | os.PathLike[str]) -> Path:
    """`out` as the path of a file. Raises `ModelError` where it is spelled as that of a directory, with a separator at
    its end: a `Path` forgets that, and a file of this name would be made."""
    text = os.fspath(out)
    if text not in ("", ".") and os.path.basename(text) in ("", "."):
        if os.path.isdir(text):
            raise ModelError(f"cannot write {text}: it is a directory; name a file in it")
        folder = os.path.dirname(text)
        raise ModelError(
            f"cannot write {text}: there is no directory {folder}; make it and name a file in it, or write {folder}"
        )
    return Path(text)
