"""The process that a tool runs in, from outside: it may die or hang, and then there is another one."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tests.runtimes.environment import ROOT

SECONDS = 240.0


class Server:
    """A server that is started when it is first asked, and again after it died."""

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None, seconds: float = SECONDS
    ) -> None:
        self._command, self._variables, self._seconds = command, variables, seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a job; `crashed` with the reason where there is none."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._crashed()
        ready, _, _ = select.select([process.stdout], [], [], self._seconds)
        if not ready:
            self._end()
            return {"crashed": f"no answer in {self._seconds:g} seconds"}
        line = process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else self._crashed()

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=None if self._variables is None else dict(self._variables), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return self._process

    def _crashed(self) -> dict[str, Any]:
        assert self._process is not None
        code = self._process.wait()
        self._end()
        return {"crashed": f"its process ended with {code}"}

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
