"""Say in the log how long each phase of the work took."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

# Without a handler of the program's own the library says nothing.
logging.getLogger("tse_onnx").addHandler(logging.NullHandler())


@contextlib.contextmanager
def phase(log: logging.Logger, name: str) -> Iterator[None]:
    """Log how long the body took, also where it fails: a failure is then the phase's that comes last."""
    begun, outcome = time.perf_counter(), "stopped after"
    try:
        yield
        outcome = "took"
    finally:
        log.info("%s %s %.3f s", name, outcome, time.perf_counter() - begun)
