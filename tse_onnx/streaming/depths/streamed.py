"""The row-streaming model of a network: from a model to what its tensors hold."""

from __future__ import annotations

from collections.abc import Mapping

from tse_onnx.decision.inputs import bind
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.graph.types import Dim
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.payoff import weighed
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.streaming.network.machines import MachineLike, machine_of, need_stages
from tse_onnx.streaming.network.read import network_of


def stream(
    model: ModelLike,
    *,
    input_shapes: Mapping[str, tuple[Dim, ...]] | None = None,
    machine: MachineLike | None = None,
    axis: int = 0,
) -> Dataflow:
    """What every tensor of `model` holds while its inputs stream in row by row, or column by column with `axis` 1.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`; `input_shapes` gives inputs with dynamic dimensions a size,
    as `{"images": (1, 3, 224, 224)}`; `machine` says how rows are stored and paced: a `Machine`, the
    name of a preset, or a TOML file. One image is counted: a batch
    streams one image after another.

    The figures, their definitions and the operators that are known are in docs/dataflow.md.

    Raises `ModelError` where a size is not known, a map is empty or the graph has loops, `UsageError` for a bad option,
    and for a machine that says something of a node that there is not.
    """
    source = open_model(model)
    network = network_of(source.model, bind(source, input_shapes or {}), axis=axis)
    chosen = machine_of(machine)
    need_stages(chosen, network)
    return weighed(network, measured(network, chosen, source.title))
