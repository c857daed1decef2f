"""How long each node of a model takes in onnxruntime, by its own profiler."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import first_line
from tse_onnx.runtime.session import opened_for_timing

_KERNEL = "_kernel_time"
_WARM = 2  # the first runs allocate


def timed(
    model: ModelProto, feed: Feed, runs: int, folder: Path | None = None, title: str = "the model"
) -> tuple[Mapping[str, float], float]:
    """The seconds of each node of a model by the name of its first output, and those of a run of the whole, the median
    of so many `runs` each, on one thread.

    The nodes are timed in the model as it is written, because what onnxruntime fuses has no time of its own; the whole
    is timed as onnxruntime optimises it. Raises `ModelError` where it refuses the model.
    """
    named = ModelProto()
    named.CopyFrom(model)
    outputs = {}
    for position, node in enumerate(named.graph.node):
        node.name = f"n{position}"
        outputs[node.name] = next((name for name in node.output if name), "")
    try:
        with tempfile.TemporaryDirectory(prefix="tse-onnx-") as scratch:
            session = opened_for_timing(named, folder, Path(scratch) / "times")
            for _ in range(runs + _WARM):
                session.run(None, dict(feed))
            events = json.loads(Path(session.end_profiling()).read_text())
        session = opened_for_timing(model, folder, None)
        whole = []
        for _ in range(runs + _WARM):
            start = time.perf_counter()
            session.run(None, dict(feed))
            whole.append(time.perf_counter() - start)
    except Exception as error:  # onnxruntime's own types are not exported in every release
        raise ModelError(f"onnxruntime cannot time {title}: {first_line(error)}") from error
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            times[event["name"].removesuffix(_KERNEL)].append(event["dur"] / 1e6)
    medians = {outputs[name]: statistics.median(seen[_WARM:]) for name, seen in times.items() if name in outputs}
    return medians, statistics.median(whole[_WARM:])
