"""onnxruntime's telemetry, which tells its makers the names of graphs and what went wrong with them."""

from __future__ import annotations

import os

VARIABLE = "ORT_DISABLE_TELEMETRY"


def turn_off() -> None:
    """Keep onnxruntime from collecting and sending, in this process and in those that it starts.

    It has to come before the first import of onnxruntime, whose releases from 1.29 on begin with the import; no later
    call stops them. Whoever has set the variable, to whatever value, has decided.
    """
    os.environ.setdefault(VARIABLE, "1")
