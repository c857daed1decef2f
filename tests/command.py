"""Run the command the way a script does, and look at what it says."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from tse_onnx.cli import main

DOCS = Path(__file__).parent.parent / "docs"
_ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TERM")}


def tse_onnx(
    *arguments: object, cwd: Path | None = None, stdin: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """`tse-onnx` with these arguments; whatever happens, it shows no traceback and no escape sequence.

    A process of its own costs most of a second, so it gets one only where `options` (of `subprocess.run`) ask for it.
    """
    words = [str(argument) for argument in arguments]
    done = _inside(words, cwd, stdin) if not options else _outside(words, cwd, stdin, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"Traceback" not in done.stdout
    assert b"\x1b" not in done.stderr
    return done


def _outside(
    words: list[str], cwd: Path | None, data: bytes, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tse_onnx", *words]
    return subprocess.run(
        command, capture_output=True, cwd=cwd, input=data, env=_ENVIRONMENT | dict(env or {}), **options
    )


def _inside(words: list[str], cwd: Path | None, data: bytes) -> subprocess.CompletedProcess[bytes]:
    streams = sys.stdin, sys.stdout, sys.stderr
    home = os.getcwd()
    fed, out, err = io.BytesIO(data), io.BytesIO(), io.BytesIO()
    try:
        sys.stdin, sys.stdout, sys.stderr = (io.TextIOWrapper(stream, encoding="utf-8") for stream in (fed, out, err))
        os.chdir(cwd or home)
        try:
            main(words, prog_name="tse-onnx")
            code: object = None
        except SystemExit as stop:
            code = stop.code
        sys.stdout.flush()
        sys.stderr.flush()
        return subprocess.CompletedProcess(words, int(code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        os.chdir(home)


def refused(done: subprocess.CompletedProcess[bytes], code: int = 2) -> str:
    """The one line in which a command refused to go on."""
    assert done.returncode == code, done.stderr.decode()
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    assert len(lines[0]) > len("Error: ") + 10
    assert not done.stdout
    return lines[0]


def validated(text: bytes | str, schema: str) -> Any:
    """The JSON object in `text`, checked against docs/`schema`.schema.json; NaN and Infinity are no JSON."""

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(text, parse_constant=no_constant)
    rules = json.loads((DOCS / f"{schema}.schema.json").read_text())
    jsonschema.Draft202012Validator(rules).validate(found)
    return found
