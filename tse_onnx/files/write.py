"""Write what a report puts into files of its own."""

from __future__ import annotations

from pathlib import Path

from tse_onnx.files.staging import staging


def write_text(path: Path, text: str) -> None:
    """Write a text so that it appears whole or not at all; `ModelError` where it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes so that they appear whole or not at all; `ModelError` where they cannot be written."""
    with staging(path) as stage:
        stage.write_bytes(data)
        stage.commit()
