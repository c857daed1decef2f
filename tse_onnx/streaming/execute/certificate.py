"""The proof by execution that the model's figures are right."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import CheckFailed, ModelError
from tse_onnx.passes.reasons import first_line, quoted
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.least import least
from tse_onnx.streaming.depths.simulate import simulate
from tse_onnx.streaming.execute.equality import Comparison, Equality, portions, tolerance_of
from tse_onnx.streaming.execute.fused import Fused, grouped
from tse_onnx.streaming.execute.kernels.kernel import Absorber, Kernel, Site
from tse_onnx.streaming.execute.kernels.table import absorber_of, kernel_of
from tse_onnx.streaming.execute.numbers import row_bytes
from tse_onnx.streaming.execute.pieces import Pieces
from tse_onnx.streaming.execute.run import Streamed
from tse_onnx.streaming.execute.settled import settled
from tse_onnx.streaming.execute.streamer import Streamer
from tse_onnx.streaming.execute.weights import weights_of
from tse_onnx.streaming.network.constants import RANDOM, Constants
from tse_onnx.streaming.network.machine import PER_READER, ROW, Machine
from tse_onnx.streaming.network.needs.axis import ROWS, TOKENS
from tse_onnx.streaming.network.network import Network, Stage
from tse_onnx.streaming.network.read import inlined

Progress = Callable[[str, int, int], None]
_OFTEN = 0.1
"""Seconds between two words of progress: there may be as many rows as samples in a recording."""


@dataclass(frozen=True)
class Proof:
    """One thing that was checked; `text` says what was found, in a sentence. What was not `decided`, because the run
    did not get so far, has not passed: `text` then says what is open."""

    name: str
    passed: bool
    text: str
    decided: bool = True

    @property
    def sentence(self) -> str:
        """What was found, or that it was not."""
        return self.text if self.decided else f"not decided is {self.text}"


@dataclass(frozen=True)
class Deadlock:
    """What happens with one row less of a tensor: `rows` is that capacity, `waits` who waits for whom."""

    tensor: str
    rows: int
    waits: tuple[str, ...]


@dataclass(frozen=True)
class Certificate:
    """What a run of the network proved that went row by row, or with `axis` 1 column by column.

    `proofs` are, in order: it completes in the predicted capacities; without bounds its peaks are those predicted; one
    row less anywhere halts it (see `deadlocks`); each of its tensors equals onnxruntime's. `error` is the largest
    difference of a tensor, relative to the largest value of that tensor, and no number where the run halted;
    `differing` are the tensors beyond the `tolerance`, in the order of the graph. `peak_bytes` was stored at once at
    most, `bound_bytes` is what the capacities add up to; `seconds` is the time of the bounded run without comparing,
    `reference_seconds` that of onnxruntime with one thread.
    """

    proofs: tuple[Proof, ...]
    deadlocks: tuple[Deadlock, ...]
    error: float
    tolerance: float
    differing: tuple[str, ...]
    peak_bytes: int
    bound_bytes: int
    firings: int
    seconds: float
    reference_seconds: float
    axis: int = ROWS

    @property
    def passed(self) -> bool:
        """Whether everything was proved."""
        return all(proof.passed for proof in self.proofs)

    def require(self) -> None:
        """Raise `CheckFailed` unless everything was proved."""
        failed = [proof.sentence for proof in self.proofs if not proof.passed]
        if failed:
            raise CheckFailed("; ".join(failed))


def certify(
    model: ModelProto,
    network: Network,
    feed: Feed,
    *,
    machine: Machine | None = None,
    folder: Path | None = None,
    tolerance: float | None = None,
    deadline: Deadline | None = None,
    progress: Progress | None = None,
    way_out: str | None = None,
) -> Certificate:
    """Run `network`, made of `model`, on `feed`, row by row or column by column as it streams, and compare with the
    model's figures and with onnxruntime.

    `folder` is where weights lie that are in files of their own; without a `tolerance` the coarsest type of the network
    says it. `way_out` ends messages of what onnxruntime does not run. Raises `ModelError` where onnxruntime cannot run
    a node by itself, where a node draws random numbers, and where the machine does not work in rows; `CheckFailed`
    where the `deadline` passes.
    """
    limit = deadline or Deadline()
    way_out = f"; {setting('run', False)} leaves out the run" if way_out is None else way_out
    machine = machine or Machine()
    tolerance = tolerance_of(network) if tolerance is None else tolerance
    if machine.grain != ROW:
        raise ModelError("the executor stores rows: certify without the pixel raster")

    told = -math.inf

    def tell(what: str, done: int, of: int) -> None:
        nonlocal told
        limit.check()
        if progress is not None and (done == of or time.monotonic() > told + _OFTEN):
            told = time.monotonic()
            progress(what, done, of)

    streamer = streamer_of(model, network, machine, folder)
    peaks, least = predicted(network, machine)
    network = grouped(network, machine).network  # of what is stored
    whole, errors, seconds = inlined(model), dict[str, float](), 0.0
    runs = list[Streamed]()
    there = {name for node in whole.graph.node for name in node.output}
    for names in portions(network, names=there) or [()]:
        comparison = Comparison(network, names, whole, feed, folder, limit, way_out)
        begun = time.perf_counter()
        try:
            runs.append(
                streamer.run(
                    least, feed, lambda done, of: tell("rows in the predicted room", done, of), comparison.take
                )
            )
        except (ValueError, IndexError) as cause:  # numpy's, where a size that depends on the data is another
            raise ModelError(f"the network cannot be run row by row: {first_line(cause)}") from cause
        if len(runs) == 1:
            seconds = time.perf_counter() - begun - comparison.seconds
        if runs[0].halt is not None:
            break
        errors.update(comparison.errors(tolerance))
    bounded = runs[0]
    free = streamer.run(progress=lambda done, of: limit.check())
    equality, token = Equality(errors, tolerance), TOKENS[network.axis]
    deadlocks: tuple[Deadlock, ...] = ()
    proofs = [
        Proof("completes", bounded.halt is None, _completion(bounded, least, token)),
        Proof("peaks", free.peaks == peaks, _peaks(free, peaks, token)),
    ]
    if bounded.halt is not None:
        proofs += [
            Proof("tight", False, f"whether one {token} less halts the pipeline: it halts as it is", decided=False),
            Proof("equal", False, "whether the tensors equal onnxruntime's: the run came to no end", decided=False),
        ]
    else:
        deadlocks, alive = _tightness(streamer, least, tell)
        proofs += [
            Proof("tight", not alive, _tight(alive, deadlocks, token)),
            Proof("equal", not equality.differing, _equal(equality, network)),
        ]
    reference = _reference_seconds(whole, feed, folder, limit, way_out) if bounded.halt is None else 0.0
    bound = sum(rows * row_bytes(network.tensors[key[0]]) for key, rows in least.items())
    return Certificate(
        tuple(proofs), deadlocks, equality.error if bounded.halt is None else math.nan, tolerance, equality.differing,
        bounded.peak_bytes, bound, bounded.fired, seconds, reference, network.axis,
    )  # fmt: skip


def streamer_of(
    model: ModelProto, network: Network, machine: Machine | None = None, folder: Path | None = None
) -> Streamer:
    """The executor of a network on a machine."""
    machine = machine or Machine()
    model = network.apart or inlined(model)
    weights = weights_of(model, network, folder)
    kernels: list[Kernel | None] = []
    absorbers: list[Absorber | None] = []
    for stage in network.stages:
        _refuse_chance(stage, network.constants)
        known, shape = settled(stage, network)
        site = Site(known, network, list(model.opset_import), {**weights, **shape} if shape else weights)
        absorbers.append(absorber_of(site) if stage.absorbs else None)
        kernels.append(None if stage.absorbs else kernel_of(site))
    private, groups = machine.storage == PER_READER, grouped(network, machine)
    return Streamer(
        groups.network,
        [_joined(network, kernels, group) for group in groups.members],
        [absorbers[group[-1]] for group in groups.members],
        private=private, sharing=groups.sharing,
    )  # fmt: skip


def _joined(network: Network, kernels: Sequence[Kernel | None], group: Sequence[int]) -> Kernel | None:
    """The kernel of stages that are one."""
    if len(group) == 1:
        return kernels[group[0]]
    made = ((network.stages[number].output, kernels[number]) for number in group)
    return Fused({name: kernel for name, kernel in made if kernel is not None})


def _refuse_chance(stage: Stage, constants: Constants) -> None:
    """Raise `ModelError` for a node that makes something else in every run: there is nothing to compare with."""
    node = stage.node
    told = constants.value(node.input[2]) if node.op_type == "Dropout" and len(node.input) > 2 else None
    training = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] and (told is None or told.any())
    if node.op_type in RANDOM or training:
        raise ModelError(
            f"{stage.label} draws random numbers, and rows of them are not those of the whole: "
            + ("export the model for inference" if training else "feed them as an input")
            + ", or leave out the run"
        )


def predicted(
    network: Network, machine: Machine
) -> tuple[dict[tuple[str, int | None], int], dict[tuple[str, int | None], int]]:
    """The model's peaks and minimal capacities, by tensor and reading node."""
    pipeline = pipeline_of(network, machine)
    run = simulate(pipeline)
    width = [network.tensors[store.tensor].row_elements for store in pipeline.stores]
    keys = [(store.tensor, store.reader) for store in pipeline.stores]
    capacities = least(pipeline, run.peaks, width).capacities
    return dict(zip(keys, run.peaks, strict=True)), dict(zip(keys, capacities, strict=True))


def _tightness(
    streamer: Streamer, least: Mapping[tuple[str, int | None], int], tell: Progress
) -> tuple[tuple[Deadlock, ...], tuple[str, ...]]:
    """What halts with one row less of each tensor, and the tensors where nothing does."""
    deadlocks, alive = [], []
    pieces = Pieces(streamer.layout, least)
    at_once = streamer.at_once()
    candidates = [key for key, rows in least.items() if rows > 1]
    for number, key in enumerate(candidates):
        tell("one row less", number + 1, len(candidates))
        rows = least[key] - 1
        if at_once.get(key, 1) > rows:
            text = f"a reader of {quoted(key[0])} takes {at_once[key]} of its rows together"
            deadlocks.append(Deadlock(key[0], rows, (text,)))
            continue
        waits = pieces.waits(key, rows)
        if waits is None:
            alive.append(key[0])
        else:
            deadlocks.append(Deadlock(key[0], rows, waits))
    return tuple(deadlocks), tuple(alive)


def _reference_seconds(model: ModelProto, feed: Feed, folder: Path | None, deadline: Deadline, way_out: str) -> float:
    """The time of onnxruntime with one thread."""
    from tse_onnx.runtime.session import Session

    session = Session(model, folder, threads=1, deadline=deadline, way_out=way_out)
    session.run(feed, session.outputs)
    begun = time.perf_counter()
    session.run(feed, session.outputs)
    return time.perf_counter() - begun


def _equal(found: Equality, network: Network) -> str:
    if not found.differing:
        return (
            f"each of {len(found.errors)} tensors differs from onnxruntime's by {found.error:.2g} of its largest value "
            "at most" + (f", {quoted(found.worst)} does" if found.error else "") + f" (tolerance {found.tolerance:.2g})"
        )
    first = found.differing[0]
    maker = network.stages[network.producer[first]].label
    return (
        f"{len(found.differing)} of {len(found.errors)} tensors differ from onnxruntime's, the first is "
        f"{quoted(first)}, made by {maker}, "
        + (f"by {found.errors[first]:.2g} of its largest value" if math.isfinite(found.errors[first])
           else "in its shape, or in what is no number")
        + f" (tolerance {found.tolerance:.2g})"
    )  # fmt: skip


def _completion(run: Streamed, least: Mapping[tuple[str, int | None], int], token: str) -> str:
    if run.halt is None:
        return f"completes in the predicted {sum(least.values()):,} {token}s of {len(least)} buffers"
    return "halts in the predicted capacities: " + "; ".join(run.halt.waits[:4])


def _peaks(run: Streamed, peaks: Mapping[tuple[str, int | None], int], token: str) -> str:
    wrong = [key for key in peaks if run.peaks.get(key) != peaks[key]]
    if run.halt is not None:
        return "halts even without bounds: " + "; ".join(run.halt.waits[:4])
    if not wrong:
        return f"without bounds every one of {len(peaks)} buffers peaks at the predicted {token}"
    first = wrong[0]
    return (
        f"{len(wrong)} buffers peak elsewhere than predicted, {quoted(first[0])} at {run.peaks.get(first)} {token}s "
        f"instead of {peaks[first]}"
    )


def _tight(alive: Sequence[str], deadlocks: Sequence[Deadlock], token: str) -> str:
    if alive:
        return f"{len(alive)} buffers could be a {token} smaller, the first is {quoted(alive[0])}"
    return f"one {token} less of any of the {len(deadlocks)} buffers of more than one {token} halts the pipeline"
