"""tract, a pure Rust runtime."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import tract

    read = tract.onnx().load(str(model))
    names = [read.input_name(place) for place in range(read.input_count())]
    runnable = read.into_model().into_runnable()
    return Loaded(lambda feeds: [value.to_numpy() for value in runnable.run([feeds[name] for name in names])])


TOOLS = (Tool("tract", "tract 0.23.9", ("tract==0.23.9", "numpy"), load, "tract", quick=True),)
