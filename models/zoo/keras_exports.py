"""Keras applications by tf2onnx.

pip install tensorflow-cpu tf2onnx
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from models.zoo.facts import Facts, Module, save

NETWORKS = ("EfficientNetB0", "EfficientNetV2B0", "MobileNetV3Small", "MobileNetV3Large", "MobileNetV2")
# (opset, batch, whether tf2onnx is to give the model an NCHW input)
WAYS = ((17, None, False), (13, 1, False), (18, 1, True), (11, None, False))
SIZE = 128
# What the layer that squeezes is called in EfficientNet, and in MobileNetV3.
SQUEEZES = ("se_squeeze", "squeeze_excite_avg_pool")


def modules_of(network: keras.Model) -> tuple[Module, ...]:
    """The network's blocks, by the names of the layers that squeeze."""
    found = []
    for layer in network.layers:
        if layer.name.endswith(SQUEEZES):
            _, height, width, channels = layer.input.shape
            found.append(Module("se", channels, height, width))
    return tuple(found)


def make(folder: Path, names: Sequence[str]) -> None:
    """Export every network, or the named ones, in every way."""
    for name in names or NETWORKS:
        network = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
        for opset, batch, channels_first in WAYS:
            signature = [tf.TensorSpec((batch, SIZE, SIZE, 3), tf.float32, name="images")]
            called = tf.function(lambda images, network=network: network(images, training=False), signature)
            # Frozen first: tf2onnx makes inputs of the constants that a Normalization layer holds.
            frozen = convert_variables_to_constants_v2(called.get_concrete_function())
            ends = [[value.name for value in values] for values in (frozen.inputs, frozen.outputs)]
            first = ends[0] if channels_first else None
            try:
                model, _ = tf2onnx.convert.from_graph_def(
                    frozen.graph.as_graph_def(),
                    input_names=ends[0],
                    output_names=ends[1],
                    opset=opset,
                    inputs_as_nchw=first,
                )
            except Exception as error:
                print(f"{name}: opset {opset} fails: {type(error).__name__}: {error}"[:300], flush=True)
                continue
            exporter = f"tf2onnx {version('tf2onnx')}" + (", NCHW input" if channels_first else "")
            source = f"keras {version('keras')}, tensorflow {tf.__version__}"
            save(model, Facts(f"keras_{name}", source, exporter, opset, batch is None, modules_of(network)), folder)
