"""ncnn, by pnnx: sizes are those of the feeds, and precision stays single."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import ncnn

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.onnx").write_bytes(model.read_bytes())
        pnnx = Path(sys.executable).with_name("pnnx")
        done = subprocess.run(
            [pnnx, folder / "net.onnx", "fp16=0"], cwd=folder, capture_output=True, text=True, check=False
        )
        parameters, weights = folder / "net.ncnn.param", folder / "net.ncnn.bin"
        if done.returncode or not parameters.exists():
            raise RuntimeError(f"pnnx ended with {done.returncode}: {_last(done.stderr) or _last(done.stdout)}")
        net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_vulkan_compute = False
        if net.load_param(str(parameters)) or net.load_model(str(weights)):
            raise RuntimeError(f"ncnn does not read what pnnx wrote: {_last(done.stderr)}")
        layers = len(parameters.read_text().splitlines()) - 2

    def run(feeds):
        import numpy

        made = []
        with net.create_extractor() as extractor:
            for name, values in zip(net.input_names(), feeds.values(), strict=True):
                if values.shape[0] != 1:
                    raise RuntimeError("ncnn has no batches")
                extractor.input(name, ncnn.Mat(numpy.ascontiguousarray(values[0], numpy.float32)).clone())
            for name in net.output_names():
                code, value = extractor.extract(name)
                if code:
                    raise RuntimeError(f"ncnn ended with {code}")
                made.append(numpy.array(value)[None])
        return made

    return Loaded(run, layers)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


TOOLS = (
    Tool(
        "ncnn", "ncnn 1.0.20261020", ("ncnn==1.0.20261020", "pnnx==20261020", "numpy"), load, target="ncnn", quick=True,
        settings=("float32", "opset 20", "float16"),
    ),
)  # fmt: skip
