"""From ONNX to hls4ml's own model, with a layer for each node, of the same name.

hls4ml's readers of ONNX want the layout changed by qonnx, which leaves out poolings and renames nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

Dims = tuple[int, ...]


def translate(model: ModelProto, folder: Path) -> Any:
    """The model as hls4ml's, for Vitis, with streams between its layers, to be written into `folder`."""
    from hls4ml.backends import get_backend
    from hls4ml.model.graph import ModelGraph

    inferred = shape_inference.infer_shapes(model).graph
    dims = {each.name: tuple(axis.dim_value for axis in each.type.tensor_type.shape.dim)
            for each in (*inferred.input, *inferred.value_info, *inferred.output)}  # fmt: skip
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    source = model.graph.input[0].name
    _, channels, height, width = dims[source]
    layers: list[dict[str, Any]] = [
        {"name": source, "class_name": "InputLayer", "input_shape": [height, width, channels],
         "data_format": "channels_last"}
    ]  # fmt: skip
    layers += [_layer(node, dims, weights) for node in model.graph.node]
    precision = {"Precision": "fixed<16,6>", "ReuseFactor": 1, "Strategy": "Latency"}
    config = get_backend("Vitis").create_initial_config(part="xc7vx690tffg1927-2", io_type="io_stream")
    config |= {"OutputDir": str(folder), "ProjectName": "network", "HLSConfig": {"Model": precision}, "Stamp": "0"}
    return ModelGraph.from_layer_list(config, layers, [source], [model.graph.output[0].name])


def _layer(node: NodeProto, dims: Mapping[str, Dims], weights: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    streams = [name for name in node.input if name in dims]
    _, channels, height, width = dims[streams[0]]
    _, filters, high, wide = dims[node.output[0]]
    layer: dict[str, Any] = {"name": node.name, "inputs": streams, "outputs": list(node.output),
                             "data_format": "channels_last"}  # fmt: skip
    sizes = {"in_height": height, "in_width": width, "out_height": high, "out_width": wide,
             "n_chan": channels, "n_filt": filters}  # fmt: skip
    said = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    strides = said.get("strides", [1, 1])
    top, left, bottom, right = said.get("pads", [0, 0, 0, 0])
    window = {"stride_height": strides[0], "stride_width": strides[1], "pad_top": top, "pad_left": left,
              "pad_bottom": bottom, "pad_right": right}  # fmt: skip
    if node.op_type == "Conv":
        kernel = weights[node.input[1]]
        return layer | sizes | window | {
            "class_name": "Conv2D", "filt_height": kernel.shape[2], "filt_width": kernel.shape[3],
            "weight_data": kernel.transpose(2, 3, 1, 0), "bias_data": np.zeros(filters, np.float32),
            "padding": "same" if top else "valid",
        }  # fmt: skip
    if node.op_type == "AveragePool":
        size = {"pool_height": said["kernel_shape"][0], "pool_width": said["kernel_shape"][1], "padding": "valid"}
        return layer | sizes | window | size | {"class_name": "AveragePooling2D"}
    if node.op_type == "Resize":
        return layer | sizes | {"class_name": "Resize", "algorithm": "nearest"}
    if node.op_type == "Relu":
        return layer | {"class_name": "Activation", "activation": "relu", "n_in": channels * height * width}
    if node.op_type == "Sigmoid":
        return layer | {"class_name": "Activation", "activation": "sigmoid", "n_in": channels * height * width}
    if node.op_type in ("Add", "Mul"):
        op = {"Add": "add", "Mul": "multiply"}[node.op_type]
        return layer | {"class_name": "Merge", "op": op}
    if node.op_type == "Concat":
        return layer | {"class_name": "Concatenate", "op": "concatenate3d", "axis": 3}
    raise ValueError(f"there is no layer for {node.op_type}")
