"""Arm's compiler for the Ethos-U; it takes int8 TFLite, which benchmarks/vela makes node by node. It runs nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool, Untranslated


def load(model: Path) -> Loaded:
    import onnx

    from benchmarks.vela.compiler import compile_network
    from benchmarks.vela.translate import translate
    from benchmarks.vela.translation import Unknown

    with tempfile.TemporaryDirectory() as name:
        network = Path(name, "net.tflite")
        try:
            network.write_bytes(translate(onnx.load_model(model)))
        except Unknown as error:
            raise Untranslated(str(error)) from None
        compiled = compile_network(network, Path(name))
    if compiled.cpu:
        raise RuntimeError(f"{compiled.cpu} operators are left to the CPU")
    return Loaded(None, compiled.npu)


TOOLS = (
    Tool(
        "vela", "Vela 5.2.0",
        ("ethos-u-vela==5.2.0", "ai-edge-litert>=2.1", "flatbuffers>=24.3", "onnx", "onnxruntime", "numpy"), load,
        target="ethos-u", settings=("float32",),
    ),
)  # fmt: skip
