"""Cycles of a layer by SCALE-Sim, which moves every operand through a systolic array, cycle by cycle."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.networks import build
from tse_onnx.costs.array import DATAFLOWS, Array
from tse_onnx.costs.cycles import layer_on
from tse_onnx.costs.layer import Layer
from tse_onnx.costs.profile import profile

SIZE = 16
_CONFIG = """[general]
run_name = run
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {size}
ArrayWidth = {size}
IfmapSramSzkB = 1024
FilterSramSzkB = 1024
OfmapSramSzkB = 1024
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
Bandwidth = 16
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
"""
_HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"


@dataclass(frozen=True)
class Simulated:
    """A layer's cycles by each dataflow: by the formula, without zeros that are skipped, setup and memory; and as
    SCALE-Sim finds them."""

    layer: Layer
    formula: dict[str, int]
    simulation: dict[str, int]


def simulated(network: str) -> list[Simulated]:
    """The convolutions of a network, one of each shape."""
    shapes: dict[tuple[object, ...], Layer] = {}
    for layer in profile(build(network), convention="squeezenext").layers:
        if layer.kernel and layer.groups == 1:
            shapes.setdefault((layer.input, layer.output, layer.kernel, layer.stride), layer)
    layers = list(shapes.values())
    dense = Array("dense", SIZE, 1 << 40, sparsity=0, setup=0)
    runs = {dataflow: _run(layers, dataflow) for dataflow in DATAFLOWS}
    return [
        Simulated(layer, dict(layer_on(layer, dense).by_dataflow), {name: run[at] for name, run in runs.items()})
        for at, layer in enumerate(layers)
    ]


def _run(layers: Sequence[Layer], dataflow: str) -> list[int]:
    from scalesim.scale_sim import scalesim

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.cfg").write_text(_CONFIG.format(size=SIZE, dataflow=dataflow))
        (folder / "net.csv").write_text(_HEADER + "".join(map(_row, layers)))
        (folder / "layout.csv").write_text("none\n")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            simulator = scalesim(
                save_disk_space=True, verbose=False, config=str(folder / "run.cfg"),
                topology=str(folder / "net.csv"), layout=str(folder / "layout.csv"), input_type_gemm=False,
            )  # fmt: skip
            simulator.run_scale(top_path=str(folder))
        report = csv.DictReader((folder / "run/COMPUTE_REPORT.csv").open(), skipinitialspace=True)
        return [int(float(row["Total Cycles"])) for row in report]


def _row(layer: Layer) -> str:
    """The layer's map with its padding, which SCALE-Sim does not know."""
    height, width = (
        stride * (out - 1) + size
        for stride, out, size in zip(layer.stride, layer.output[1:], layer.kernel, strict=True)
    )
    rows, columns = layer.kernel
    sizes = (height, width, rows, columns, layer.input[0], layer.output[0], layer.stride[0])
    return f"{layer.name},{','.join(map(str, sizes))},\n"
