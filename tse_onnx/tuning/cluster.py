"""Measure on other processes and machines, by Dask.

The model, the batches and the losses go to the workers with the work, so a worker needs this package and nothing else:
no file of the client's. The batches are the same as in one process, so the numbers are as well. Where a worker is lost
Dask gives its work to another one; what it held in memory can be had again from the scheduler.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import TseError, UsageError
from tse_onnx.files.external import external_tensors
from tse_onnx.files.source import Source
from tse_onnx.installation.extras import need
from tse_onnx.passes.reasons import first_line, printable
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.losses import Loss
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.work import Batch, Measured, References, aligned, carried_out, in_streams, largest_part

if TYPE_CHECKING:
    from distributed import Client

# Parts of the work for each worker: enough that the last ones do not wait long for each other.
_PARTS_PER_WORKER = 3
_TRIES = 5
_SECONDS_TO_CONNECT = 30


class Cluster:
    """Carries work out on the workers of a Dask scheduler: the one at `address`, or `workers` processes started here.

    Raises `UsageError` where Dask is missing, the scheduler is out of reach or the model's weights are in files.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        batches: Batches,
        memory: int,
        *,
        address: str | None = None,
        workers: int | None = None,
        input_shapes: InputShapes | None = None,
        kinds: frozenset[str] = frozenset(),
        threads: int = 0,
    ) -> None:
        if any(True for _ in external_tensors(network.source.model)):
            raise UsageError("weights in files of their own do not reach other machines: save the model as one file")
        self._network, self._loss, self._batches, self._memory = network, loss, batches, memory
        self._stack = contextlib.ExitStack()
        try:
            self.client = self._stack.enter_context(_quietly(_client(self._stack, address, workers)))
            count = max(len(self.client.scheduler_info(n_workers=-1)["workers"]), 1)
            self._parts = _PARTS_PER_WORKER * count
            if workers and not threads:  # the workers share this machine
                threads = max(1, (os.cpu_count() or 1) // workers)
            told_from = network.told_from
            data = tuple(one.source.model.SerializeToString() for one in (network, told_from) if one is not None)
            digest = hashlib.sha256(b"".join(data)).hexdigest()
            self._setting = (digest, dict(input_shapes or {}), kinds, threads)
            self._model = self.client.submit(_held, data, key=f"tse-onnx-model-{digest}")
        except BaseException:
            self._stack.close()
            raise

    def measure(self, wanted: Mapping[Combination, frozenset[int]]) -> Iterator[Measured]:
        """Measure every combination on its batches, in whatever order the workers finish."""
        from distributed import as_completed

        waiting: dict[Any, tuple[tuple[int, ...], Mapping[Combination, frozenset[int]], int]] = {}
        for numbers, part in self._split(wanted):
            waiting[self._submit(numbers, part)] = (numbers, part, 1)
        finished = as_completed(list(waiting))
        try:
            for future in finished:
                numbers, part, tries = waiting.pop(future)
                if future.status == "finished":
                    try:
                        found: Sequence[Measured] = future.result()
                    except Exception:  # its worker was lost before the result had come over
                        found = ()
                    if found:
                        yield from found
                        continue
                self._raise(future, tries)
                again = self._submit(numbers, part, tries)
                waiting[again] = (numbers, part, tries + 1)
                finished.add(again)
        finally:
            self.client.cancel(list(waiting))

    def _submit(self, numbers: tuple[int, ...], part: Mapping[Combination, frozenset[int]], again: int = 0) -> Any:
        batches = self._batches.read(numbers)
        return self.client.submit(
            _work, self._model, self._setting, self._loss, batches, part, pure=False, retries=_TRIES
        )

    def _raise(self, future: Any, tries: int) -> None:
        """Raise what a worker raised; return where it was the worker that failed, and the work may be tried again."""
        if future.status == "error":
            error = future.exception()
            if isinstance(error, TseError):
                raise error
            if type(error).__name__ != "KilledWorker" or tries >= _TRIES:
                raise UsageError(f"a worker failed: {first_line(error or RuntimeError('unknown'))}")
        if tries >= _TRIES:
            raise UsageError(f"the same work was lost with its worker {_TRIES} times; give workers more memory")

    def _split(
        self, wanted: Mapping[Combination, frozenset[int]]
    ) -> Iterator[tuple[tuple[int, ...], Mapping[Combination, frozenset[int]]]]:
        """Parts of the work that do not depend on each other: some batches, and some combinations on them."""
        numbers = sorted(frozenset[int]().union(*wanted.values()))
        names = sorted({name for combination in wanted for name, _ in combination})
        most = largest_part(self._network, names, self._memory, self._batches.size)
        step = max(1, min(most, -(-len(numbers) // self._parts)))
        whole = any(in_streams(self._network, combination) for combination in wanted)
        shards = self._batches.parts(numbers, step, whole)
        groups = min(len(wanted), -(-self._parts // max(len(shards), 1)))
        # Choices of one block stay together: they share the way to it.
        ordered = sorted(wanted, key=lambda combination: [name for name, _ in combination])
        size = -(-len(ordered) // max(groups, 1))
        for shard in shards:
            for start in range(0, len(ordered), max(size, 1)):
                part = {one: wanted[one] & frozenset(shard) for one in ordered[start : start + size]}
                part = {one: those for one, those in part.items() if those}
                if part:
                    yield shard, part

    def close(self) -> None:
        """Let the workers go."""
        self._stack.close()


def _client(stack: contextlib.ExitStack, address: str | None, workers: int | None) -> Client:
    need("dask")
    import distributed

    for name in ("distributed", "distributed.worker", "distributed.scheduler", "distributed.nanny", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        if address is not None:
            return distributed.Client(address, timeout=_SECONDS_TO_CONNECT)
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )  # fmt: skip
        return distributed.Client(stack.enter_context(cluster))
    except (OSError, ValueError, RuntimeError) as error:
        where = f"the scheduler at {printable(address)}" if address is not None else "workers on this machine"
        raise UsageError(f"cannot use {where}: {first_line(error)}") from error


@contextlib.contextmanager
def _quietly(client: Client) -> Iterator[Client]:
    """A client that is closed without a word."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        try:
            yield client
        finally:
            client.close()


# On a worker.


def _held(data: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The model, and the one that losses are told from, if that is another: a task of its own, so that the scheduler
    can have it made anew where a worker is lost."""
    return data


def _work(
    data: tuple[bytes, ...],
    setting: tuple[str, InputShapes, frozenset[str], int],
    loss: Loss,
    batches: Sequence[Batch],
    wanted: Mapping[Combination, frozenset[int]],
) -> list[Measured]:
    digest, shapes, kinds, threads = setting
    bound = tuple(sorted((name, tuple(dims)) for name, dims in shapes.items()))
    network = _network(_Model(data, digest), bound, kinds, threads)
    batches = [replace(batch, feed={name: aligned(array) for name, array in batch.feed.items()}) for batch in batches]
    return list(carried_out(References(network, loss), network, loss, batches, wanted))


class _Model:
    """A model's bytes, and those of the one that losses are told from; told from others by their digest."""

    def __init__(self, data: tuple[bytes, ...], digest: str) -> None:
        self.data, self._digest = data, digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Model) and other._digest == self._digest


@lru_cache(maxsize=2)
def _network(
    model: _Model, bound: tuple[tuple[str, tuple[Any, ...]], ...], kinds: frozenset[str], threads: int
) -> Network:
    found: Network | None = None
    for data in reversed(model.data):
        found = Network(Source(ModelProto.FromString(data)), dict(bound), kinds, threads, told_from=found)
    assert found is not None
    return found
