"""The proof by execution that the model's figures are right."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.errors import CheckFailed, ModelError
from tse_onnx.passes.reasons import first_line, label, quoted
from tse_onnx.streaming.capacity import minimal
from tse_onnx.streaming.execute.kernel import Absorber, Kernel, Site
from tse_onnx.streaming.execute.kernels import absorber_of, kernel_of
from tse_onnx.streaming.execute.settled import settled
from tse_onnx.streaming.execute.streamer import Streamed, Streamer
from tse_onnx.streaming.execute.weights import weights_of
from tse_onnx.streaming.machine import PER_READER, ROW, Machine
from tse_onnx.streaming.network import Network, inlined
from tse_onnx.streaming.pipeline import pipeline_of
from tse_onnx.streaming.simulate import simulate
from tse_onnx.verification.deadline import Deadline

Progress = Callable[[str, int, int], None]
_TOLERANCE = 1e-4
_SMALLEST = 1e-3


@dataclass(frozen=True)
class Proof:
    """One thing that was checked; `text` says what was found, in a sentence."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Deadlock:
    """What happens with one row less of a tensor: `rows` is that capacity, `waits` who waits for whom."""

    tensor: str
    rows: int
    waits: tuple[str, ...]


@dataclass(frozen=True)
class Certificate:
    """What a run of the network row by row proved.

    `proofs` are, in order: it completes in the predicted capacities; without bounds its peaks are those predicted; one
    row less anywhere halts it (see `deadlocks`); its outputs equal onnxruntime's. `error` is the largest difference of
    an output, relative to the largest value of that output. `peak_bytes` was stored at once at most, `bound_bytes` is
    what the capacities add up to; `seconds` is the time of the bounded run, `reference_seconds` that of onnxruntime
    with one thread.
    """

    proofs: tuple[Proof, ...]
    deadlocks: tuple[Deadlock, ...]
    error: float
    tolerance: float
    peak_bytes: int
    bound_bytes: int
    firings: int
    seconds: float
    reference_seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything was proved."""
        return all(proof.passed for proof in self.proofs)

    def require(self) -> None:
        """Raise `CheckFailed` unless everything was proved."""
        failed = [proof.text for proof in self.proofs if not proof.passed]
        if failed:
            raise CheckFailed("; ".join(failed))


def certify(
    model: ModelProto,
    network: Network,
    feed: Feed,
    *,
    machine: Machine | None = None,
    folder: Path | None = None,
    tolerance: float = _TOLERANCE,
    deadline: Deadline | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Run `network`, made of `model`, row by row on `feed` and compare with the model's figures and with onnxruntime.

    `folder` is where weights lie that are in files of their own. Raises `ModelError` where onnxruntime cannot run a
    node by itself, and where the machine does not work in rows; `CheckFailed` where the `deadline` passes.
    """
    limit = deadline or Deadline()
    machine = machine or Machine()
    if machine.grain != ROW:
        raise ModelError("the executor stores rows: certify without the pixel raster")

    def tell(what: str, done: int, of: int) -> None:
        limit.check()
        if progress is not None:
            progress(what, done, of)

    streamer = streamer_of(model, network, private=machine.storage == PER_READER, folder=folder)
    peaks, least = predicted(network, machine)
    begun = time.perf_counter()
    try:
        bounded = streamer.run(least, feed, lambda done, of: tell("rows in the predicted room", done, of))
    except (LookupError, ValueError, TypeError, ArithmeticError) as cause:  # numpy's, where numbers do not fit shapes
        raise ModelError(f"the network cannot be run row by row: {first_line(cause)}") from cause
    seconds = time.perf_counter() - begun
    free = streamer.run(progress=lambda done, of: limit.check())
    deadlocks, alive = _tightness(streamer, least, tell)
    begun = time.perf_counter()
    error, worst, reference_seconds = _compared(model, feed, bounded, folder, limit)
    proofs = (
        Proof("completes", bounded.halt is None, _completion(bounded, least)),
        Proof("peaks", free.peaks == peaks, _peaks(free, peaks)),
        Proof("tight", not alive, _tight(alive, deadlocks)),
        Proof(
            "equal",
            bounded.halt is None and error <= tolerance,
            f"outputs differ from onnxruntime's by {error:.2g} of their largest value at most"
            + (f", at {quoted(worst)}" if worst else "")
            + f" (tolerance {tolerance:.2g})",
        ),
    )
    bound = sum(rows * _row_bytes(network, key[0]) for key, rows in least.items())
    return Certificate(
        proofs, deadlocks, error, tolerance, bounded.peak_bytes, bound, bounded.fired, seconds, reference_seconds
    )


def streamer_of(model: ModelProto, network: Network, *, private: bool = False, folder: Path | None = None) -> Streamer:
    """The executor of a network."""
    model = inlined(model)
    weights = weights_of(model, network, folder)
    kernels: list[Kernel | None] = []
    absorbers: list[Absorber | None] = []
    for stage in network.stages:
        known, shape = settled(stage, network)
        site = Site(known, network, list(model.opset_import), {**weights, **shape} if shape else weights)
        try:
            absorbers.append(absorber_of(site) if stage.absorbs else None)
            kernels.append(None if stage.absorbs else kernel_of(site))
        except (AssertionError, LookupError, ValueError, TypeError, ArithmeticError, NotImplementedError) as error:
            raise ModelError(f"{label(stage.node)} cannot be run row by row: {error}") from error
    return Streamer(network, kernels, absorbers, private=private)


def predicted(
    network: Network, machine: Machine
) -> tuple[dict[tuple[str, int | None], int], dict[tuple[str, int | None], int]]:
    """The model's peaks and minimal capacities, by tensor and reading node."""
    pipeline = pipeline_of(network, machine)
    run = simulate(pipeline)
    width = [network.tensors[store.tensor].row_elements for store in pipeline.stores]
    keys = [(store.tensor, store.reader) for store in pipeline.stores]
    least = minimal(pipeline, run.peaks, width)
    return dict(zip(keys, run.peaks, strict=True)), dict(zip(keys, least, strict=True))


def _tightness(
    streamer: Streamer, least: Mapping[tuple[str, int | None], int], tell: Progress
) -> tuple[tuple[Deadlock, ...], tuple[str, ...]]:
    """What halts with one row less of each tensor, and the tensors where nothing does."""
    deadlocks, alive = [], []
    at_once = streamer.at_once()
    candidates = [key for key, rows in least.items() if rows > 1]
    for number, key in enumerate(candidates):
        tell("one row less", number + 1, len(candidates))
        rows = least[key] - 1
        if at_once.get(key, 1) > rows:
            text = f"a reader of {quoted(key[0])} takes {at_once[key]} of its rows together"
            deadlocks.append(Deadlock(key[0], rows, (text,)))
            continue
        run = streamer.run({**least, key: rows})
        if run.halt is None:
            alive.append(key[0])
        else:
            deadlocks.append(Deadlock(key[0], rows, run.halt.waits))
    return tuple(deadlocks), tuple(alive)


def _compared(
    model: ModelProto, feed: Feed, run: Streamed, folder: Path | None, deadline: Deadline
) -> tuple[float, str, float]:
    from tse_onnx.verification.session import Session

    if run.halt is not None:
        return float("inf"), "", 0.0
    session = Session(model, folder, threads=1, deadline=deadline)
    names = [name for name in session.outputs if name in run.outputs]
    session.run(feed, names)
    begun = time.perf_counter()
    wanted = session.run(feed, names)
    seconds = time.perf_counter() - begun
    worst, where = 0.0, ""
    for name in names:
        error = difference(run.outputs[name], wanted[name])
        if error > worst:
            worst, where = error, name
    return worst, where, seconds


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest value or 0.001; infinite where shapes differ or one is not a
    number."""
    if found.shape != wanted.shape:
        return float("inf")
    if not wanted.size or np.array_equal(found, wanted):
        return 0.0
    one, two = found.astype(np.float64), wanted.astype(np.float64)
    if not np.array_equal(np.isfinite(one), np.isfinite(two)):
        return float("inf")
    finite = np.isfinite(two)
    # An output that is all but zero, as a mean of differences from a mean is, has nothing but rounding in it.
    scale = max(float(np.max(np.abs(two[finite]), initial=0.0)), _SMALLEST)
    return float(np.max(np.abs(one[finite] - two[finite]), initial=0.0)) / scale


def _completion(run: Streamed, least: Mapping[tuple[str, int | None], int]) -> str:
    if run.halt is None:
        return f"completes in the predicted {sum(least.values()):,} rows of {len(least)} buffers"
    return "halts in the predicted capacities: " + "; ".join(run.halt.waits[:4])


def _peaks(run: Streamed, peaks: Mapping[tuple[str, int | None], int]) -> str:
    wrong = [key for key in peaks if run.peaks.get(key) != peaks[key]]
    if run.halt is not None:
        return "halts even without bounds: " + "; ".join(run.halt.waits[:4])
    if not wrong:
        return f"without bounds every one of {len(peaks)} buffers peaks at the predicted row"
    first = wrong[0]
    return (
        f"{len(wrong)} buffers peak elsewhere than predicted, {quoted(first[0])} at {run.peaks.get(first)} rows "
        f"instead of {peaks[first]}"
    )


def _tight(alive: Sequence[str], deadlocks: Sequence[Deadlock]) -> str:
    if alive:
        return f"{len(alive)} buffers could be a row smaller, the first is {quoted(alive[0])}"
    return f"one row less of any of the {len(deadlocks)} buffers of more than one row halts the pipeline"


def _row_bytes(network: Network, name: str) -> int:
    from tse_onnx.streaming.network import bits_of

    tensor = network.tensors[name]
    return -(-tensor.row_elements * bits_of(tensor.dtype) // 8)
