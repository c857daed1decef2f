"""onnxruntime-web: its WebAssembly, run by node."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool

SCRIPT = Path(__file__).with_suffix(".mjs")


def load(model: Path) -> Loaded:
    import numpy

    def run(feeds):
        request = {
            "model": str(model),
            "feeds": {
                name: [values.dtype.name, list(values.shape), base64.b64encode(values.tobytes()).decode()]
                for name, values in feeds.items()
            },
        }
        done = subprocess.run(["node", SCRIPT], input=json.dumps(request), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "node failed")
        return [
            numpy.frombuffer(base64.b64decode(values), kind).reshape(shape)
            for kind, shape, values in json.loads(done.stdout.splitlines()[-1])
        ]

    return Loaded(run)


TOOLS = (
    Tool(
        "onnxruntime-web", "onnxruntime-web 1.30.0", ("numpy",), load, target="onnxruntime-web",
        packages=("onnxruntime-web@1.30.0",),
    ),
)  # fmt: skip
