"""What people read for each kind of what waits."""

from __future__ import annotations

from tse_onnx.streaming.depths.result import GATE, LINE, SKIP, STREAM

KIND_NAMES = {
    GATE: "held for a gate",
    SKIP: "skip connections",
    LINE: "line buffers",
    STREAM: "rows on their way",
}
