"""One question about one model: its figures, and, if asked for, the run that proves them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto

from tse_onnx.decision.inputs import bind
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.external import check_locations
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.edit.memory import remembered
from tse_onnx.passes.edit.record import recorded
from tse_onnx.passes.graph.types import Dim, TensorType
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.streaming.depths.model import measured
from tse_onnx.streaming.depths.occupancy import Occupancy, bounded, occupancy
from tse_onnx.streaming.depths.payoff import weighed
from tse_onnx.streaming.depths.result import Dataflow
from tse_onnx.streaming.network.machine import ROW
from tse_onnx.streaming.network.machines import MachineLike, machine_of, need_stages
from tse_onnx.streaming.network.network import Network
from tse_onnx.streaming.network.read import network_of

if TYPE_CHECKING:
    from tse_onnx.data.feed import Feed
    from tse_onnx.data.presets import Preprocessing
    from tse_onnx.data.samples import Samples
    from tse_onnx.streaming.execute.certificate import Certificate, Progress


MOST_ROWS = 1_000_000
"""Rows of all tensors that a run goes through unless it is told to go on: about a minute."""


@dataclass(frozen=True)
class Session:
    """The figures of a network, and its certificate, None where it was not run."""

    dataflow: Dataflow
    certificate: Certificate | None
    network: Network = field(repr=False)
    axis: int = 0
    """The spatial axis that the maps stream along."""
    across: tuple[str, ...] = ()
    """The blocks that a conversion has cut along another one."""

    def timeline(self, images: int | None = None) -> Occupancy:
        """What is held against time. Raises `UsageError` where so many images have too many rows."""
        return occupancy(self.network, self.dataflow, images and bounded(images, self.dataflow.height))


def stream(
    model: ModelLike,
    *,
    input_shapes: Mapping[str, tuple[Dim, ...]] | None = None,
    machine: MachineLike | None = None,
    axis: int = 0,
    execute: bool = True,
    data: Path | None = None,
    preprocess: Preprocessing = "unit",
    seed: int = 0,
    tolerance: float | None = None,
    time_limit: float | None = None,
    max_rows: int = MOST_ROWS,
    progress: Progress | None = None,
) -> Session:
    """The figures of `model` as `tse_onnx.stream` gives them, and with `execute` their proof by a run on the first
    sample of `data`, or on noise drawn from `seed`. Without a `tolerance` the coarsest type of the network says it.

    Maps stream along a spatial `axis`, 0 by rows, 1 by columns, and are run so.
    A run goes through at most `max_rows` rows of all tensors together. `progress` is told what is done, of what.

    Raises what `dataflow` raises, `UsageError` for a run by pixels, `DataError` where the data do not fit, and
    `CheckFailed` where the run takes longer than the seconds of `time_limit`.
    """
    machine = machine_of(machine)
    if execute and machine.grain != ROW:
        raise UsageError(f"the run stores rows, not pixels: add {setting('run', False)}")
    source = open_model(model)
    if execute:
        check_locations(source.model, source.folder)
    network = network_of(source.model, bind(source, input_shapes or {}), max_rows, axis=axis)
    need_stages(machine, network)
    rows = sum(tensor.row_count for tensor in network.tensors.values())
    if execute and rows > max_rows:
        raise UsageError(
            f"the tensors have {rows:,} rows together, more than the {max_rows:,} that a run goes through: "
            f"{setting('max_rows', rows)} lets it take its time, {setting('run', False)} leaves it out"
        )
    if progress is not None:
        progress("counting rows", 0, rows)
    figures = weighed(network, measured(network, machine, source.title))
    certificate = None
    if execute:
        from tse_onnx.data.noise import samples_or_noise
        from tse_onnx.data.presets import preprocess_of
        from tse_onnx.streaming.execute.certificate import certify

        certificate = certify(
            source.model,
            network,
            feed_of(network, lambda types: samples_or_noise(types, data, preprocess_of(preprocess), seed)),
            machine=machine,
            folder=source.folder,
            tolerance=tolerance,
            deadline=Deadline(time_limit),
            progress=progress,
        )
    return Session(figures, certificate, network, axis, _cut_across(source.model, axis))


def _cut_across(model: ModelProto, axis: int) -> tuple[str, ...]:
    """The blocks of a converted model that are cut into strips along another axis, as far as it remembers them."""
    with contextlib.suppress(ModelError):
        found = [record for _, records in recorded(model, remembered(model)) for record in records]
        return tuple(
            one.block
            for one in found
            if isinstance(one.choice, Tiling) and one.choice.axis != axis and one.choice.cols is None
        )
    return ()


def certified(
    source: Source,
    converted: ModelProto,
    bound: Mapping[str, tuple[Dim, ...]],
    samples: Callable[[Mapping[str, TensorType]], Samples],
    deadline: Deadline | None = None,
    tolerance: float | None = None,
    axis: int = 0,
) -> Certificate:
    """The certificate of what became of a model whose maps stream along a spatial `axis`, on the first of the `samples`
    for its inputs' types."""
    from tse_onnx.streaming.execute.certificate import certify

    network = network_of(converted, bound, axis=axis)
    return certify(
        converted, network, feed_of(network, samples), folder=source.folder, tolerance=tolerance,
        deadline=deadline, way_out=f"; leave out {setting('certify')}",
    )  # fmt: skip


def feed_of(network: Network, samples: Callable[[Mapping[str, TensorType]], Samples]) -> Feed:
    """The first of the samples for the types of a network's inputs."""
    return next(samples({tensor.name: TensorType(tensor.dtype, tensor.dims) for tensor in network.sources}).feeds())
