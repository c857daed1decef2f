"""hls4ml: C++ for an FPGA, compiled and run on the processor, in wide fixed-point numbers.

Channels come last in hls4ml, so the model goes through qonnx's conversion to that layout first, as its manual says. That
one lays the output back.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import hls4ml
    import numpy
    import qonnx.util.cleanup
    import qonnx.util.to_channels_last
    from qonnx.core.modelwrapper import ModelWrapper

    folder = Path(tempfile.mkdtemp())
    cleaned, last = str(folder / "clean.onnx"), str(folder / "last.onnx")
    qonnx.util.cleanup.cleanup(str(model), out_file=cleaned)
    qonnx.util.to_channels_last.to_channels_last(cleaned, make_input_channels_last=True, out_file=last)
    qonnx.util.cleanup.cleanup(last, out_file=last)
    read = ModelWrapper(last)
    configuration = hls4ml.utils.config_from_onnx_model(read, "name", "Vitis", default_precision="ap_fixed<32,12>")
    network = hls4ml.converters.convert_from_onnx_model(
        read, hls_config=configuration, output_dir=str(folder / "project"), io_type="io_stream", backend="Vitis"
    )
    network.compile()

    def run(feeds):
        made = network.predict(*(numpy.ascontiguousarray(numpy.moveaxis(values, 1, -1)) for values in feeds.values()))
        return [made.reshape(1, 6, 8, 12)]

    return Loaded(run, len(network.graph))


TOOLS = (Tool("hls4ml", "hls4ml 1.3.0", ("hls4ml==1.3.0", "qonnx==1.0.0"), load, "hls4ml", settings=("float32",)),)
