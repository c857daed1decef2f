"""The row-streaming model of a network: from a model to what its tensors hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnx import TensorProto

from tse_onnx.decision.analysis import bind
from tse_onnx.errors import ModelError
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.graph.types import Dim, bits_of
from tse_onnx.streaming.depths.gates import Gate, gates_of
from tse_onnx.streaming.depths.least import Least, least
from tse_onnx.streaming.depths.pipeline import Pipeline, pipeline_of
from tse_onnx.streaming.depths.result import (
    BOUND,
    FIGURES,
    GATE,
    KINDS,
    LINE,
    SKIP,
    STREAM,
    Buffer,
    Dataflow,
    Held,
    StageFlow,
    Sums,
)
from tse_onnx.streaming.depths.schedule import depths
from tse_onnx.streaming.depths.simulate import Run, simulate
from tse_onnx.streaming.depths.stall import reasons
from tse_onnx.streaming.network.machine import PIXEL, Machine
from tse_onnx.streaming.network.network import Network, Tensor
from tse_onnx.streaming.network.read import network_of


def dataflow(
    model: ModelLike,
    *,
    input_shapes: Mapping[str, tuple[Dim, ...]] | None = None,
    machine: Machine | None = None,
) -> Dataflow:
    """What every tensor of `model` holds while its inputs stream in row by row.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`; `input_shapes` gives inputs with dynamic dimensions a size,
    as `{"images": (1, 3, 224, 224)}`; `machine` says how rows are stored and paced. One image is counted: a batch
    streams one image after another.

    The figures, their definitions and the operators that are known are in docs/dataflow.md.

    Raises `ModelError` where a size is not known, a map is empty or the graph has loops, `UsageError` for a bad option.
    """
    source = open_model(model)
    network = network_of(source.model, bind(source, input_shapes or {}))
    return measured(network, machine or Machine(), source.title)


def measured(network: Network, machine: Machine, title: str) -> Dataflow:
    """The figures of a network on a machine."""
    pipeline = pipeline_of(network, machine)
    tensors = [network.tensors[store.tensor] for store in pipeline.stores]
    try:
        run = simulate(pipeline)
        found = least(pipeline, run.peaks, [_token_elements(tensor, machine) for tensor in tensors])
    except IndexError:
        raise ModelError("the rows of the network do not fit together: a size that the model states is false") from None
    windows = windows_of(pipeline)
    why = reasons(network, pipeline, found.capacities, windows)
    calm = depths(network, machine, pipeline)
    fills = _fills(network, machine, pipeline, run)
    gates = {gate.tensor: gate for gate in gates_of(network)}
    buffers = tuple(
        _buffer(network, machine, pipeline, store, (run.peaks[store], found.capacities[store], calm[store]),
                windows[store], gates.get(tensor.name), why.get(store))
        for store, tensor in enumerate(tensors)
    )  # fmt: skip
    return Dataflow(
        title,
        machine,
        network.height,
        buffers,
        _stages(network, fills),
        {figure: _sums(buffers, figure) for figure in FIGURES} | {BOUND: _bound(tensors, machine, found)},
        {kind: {figure: _sums((each for each in buffers if each.kind == kind), figure) for figure in FIGURES}
         for kind in KINDS},
        _accumulators(network, machine),
        network.unknown,
        {stage.output: fill for stage, fill in zip(network.stages, fills, strict=True)
         if network.tensors[stage.output].leaves},
    )  # fmt: skip


def windows_of(pipeline: Pipeline) -> tuple[int, ...]:
    """For each store the tokens that its readers need by themselves."""
    return tuple(
        max([1, *(link.need.window for stage, link in links if not pipeline.absorbs[stage])])
        for links in pipeline.links
    )


def _token_elements(tensor: Tensor, machine: Machine) -> int:
    return tensor.row_elements // (tensor.column_count if machine.grain == PIXEL else 1) or 1


def _buffer(
    network: Network,
    machine: Machine,
    pipeline: Pipeline,
    store: int,
    found: tuple[int, int, int],
    window: int,
    gate: Gate | None,
    why: str | None,
) -> Buffer:
    tensor = network.tensors[pipeline.stores[store].tensor]
    node = pipeline.stores[store].reader
    readers = tuple(dict.fromkeys(network.stages[stage].label for stage in network.readers[tensor.name]))
    reader = next((network.stages[stage].label for stage in network.readers[tensor.name]
                   if network.stages[stage].position == node), None)  # fmt: skip
    maker = network.producer.get(tensor.name)
    mine = gate is not None and (reader is None or reader == gate.scale)
    asap, least, calm = (_held(tensor, machine, depth) for depth in found)
    kind = GATE if mine else SKIP if found[1] > window else LINE if found[1] > 1 else STREAM
    return Buffer(
        tensor.name,
        reader,
        "the input" if maker is None else network.stages[maker].label,
        readers,
        tensor.dims,
        TensorProto.DataType.Name(tensor.dtype).lower(),
        tensor.row_count,
        tensor.row_elements,
        window,
        kind,
        _gate_figure(tensor, machine, gate) if mine and gate is not None else None,
        asap,
        least,
        calm,
        why,
    )


def _held(tensor: Tensor, machine: Machine, depth: int) -> Held:
    if machine.power_of_two:
        depth = 1 << (depth - 1).bit_length()
    elements = depth * _token_elements(tensor, machine)
    rows = -(-depth // tensor.column_count) if machine.grain == PIXEL else depth
    return Held(rows, depth, elements, bytes_of(elements, tensor.dtype, machine))


def _gate_figure(tensor: Tensor, machine: Machine, gate: Gate) -> Held:
    pixel = tensor.row_elements // tensor.column_count
    elements = pixel * gate.rows * gate.columns
    depth = gate.rows * gate.columns if machine.grain == PIXEL else gate.rows
    return Held(gate.rows, depth, elements, bytes_of(elements, tensor.dtype, machine))


def bytes_of(elements: int, dtype: int, machine: Machine) -> int:
    """Bytes of so many elements of an ONNX type on a machine, rounded up."""
    return -(-elements * (machine.bits or bits_of(dtype)) // 8)


def _bound(tensors: Sequence[Tensor], machine: Machine, found: Least) -> Sums:
    """What no schedule goes below, all tensors together."""
    floors = [_held(tensor, machine, depth) for tensor, depth in zip(tensors, found.floor, strict=True)]
    elements, size = sum(floor.elements for floor in floors), sum(floor.bytes for floor in floors)
    for stores, together in found.pieces:
        # Whole elements, of which each has the bits of the narrowest type at the least.
        least_size = min(-(-together * (machine.bits or bits_of(tensors[store].dtype)) // 8) for store in stores)
        elements += max(0, together - sum(floors[store].elements for store in stores))
        size += max(0, least_size - sum(floors[store].bytes for store in stores))
    return Sums(elements, size)


def _fills(network: Network, machine: Machine, pipeline: Pipeline, run: Run) -> list[int]:
    """For each stage the rows of the largest input that come before its first token, the row in which they end
    included; −1 where it never makes one."""
    columns = 1
    if machine.grain == PIXEL and pipeline.sources:
        stores, _ = max(pipeline.sources, key=lambda source: source[1])
        columns = network.tensors[pipeline.stores[stores[0]].tensor].column_count
    return [-(-first // columns) if first >= 0 else first for first in run.first]


def _stages(network: Network, fills: Sequence[int]) -> tuple[StageFlow, ...]:
    return tuple(
        StageFlow(
            stage.label,
            stage.output,
            fill,
            network.tensors[stage.output].row_count / network.height,
            network.tensors[stage.output].row_elements if stage.absorbs or stage.accumulates else 0,
            stage.barrier,
        )
        for stage, fill in zip(network.stages, fills, strict=True)
    )


def _accumulators(network: Network, machine: Machine) -> Sums:
    made = [network.tensors[stage.output] for stage in network.stages if stage.absorbs or stage.accumulates]
    return Sums(
        sum(tensor.row_elements for tensor in made),
        sum(bytes_of(tensor.row_elements, tensor.dtype, machine) for tensor in made),
    )


def _sums(buffers: Iterable[Buffer], figure: str) -> Sums:
    held = [each for each in (getattr(buffer, figure) for buffer in buffers) if each is not None]
    return Sums(sum(each.elements for each in held), sum(each.bytes for each in held))
