"""Run several models on the same samples, batch by batch, and compare the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.data.labels import check_range
from tse_onnx.data.samples import Samples
from tse_onnx.decision.inputs import InputShapes, bind, fed_inputs
from tse_onnx.errors import DataError, ModelError
from tse_onnx.files.external import check_locations
from tse_onnx.files.source import Source
from tse_onnx.passes.edit.feedback import fed_back
from tse_onnx.passes.graph.types import Dim, TensorType, tensor_type
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.runtime.scores import Meter, Score, looks_like_classes
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.widen import widened, widened_feed

Progress = Callable[[int, int], None]
"""Told how many samples are done, and of how many."""


@dataclass(frozen=True)
class Contender:
    """A model to run, the folder of its external weights, and how messages call it."""

    title: str
    model: ModelProto
    folder: Path | None = None

    @classmethod
    def of(cls, source: Source) -> Contender:
        """A model that was opened. Raises `ModelError` where its weights lie outside its folder."""
        check_locations(source.model, source.folder)
        return cls(source.title, source.model, source.folder)


class Runner:
    """A session that takes the feeds of the model as it was, whatever onnxruntime lacks."""

    def __init__(
        self, contender: Contender, threads: int, extra: Sequence[str] = (), deadline: Deadline | None = None
    ) -> None:
        model = widened(contender.model)
        self._session = Session(model, contender.folder, extra, threads, contender.title, deadline=deadline, way_out="")
        self.outputs = self._session.outputs

    def run(self, feed: Feed, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The values of `names` for one batch."""
        return self._session.run(widened_feed(feed), names)


class FrameRunner(Runner):
    """A runner that feeds the gates that a model hands on back to it with the next frame."""

    def __init__(self, contender: Contender, threads: int) -> None:
        super().__init__(contender, threads)
        self._ends, self._gates = fed_back(contender.model), dict[str, np.ndarray]()
        graph = contender.model.graph
        there = {value.name for value in (*graph.input, *graph.output)}
        for name in (*self._ends, *self._ends.values()):
            if name not in there:
                raise ModelError(
                    f"{contender.title} has no {quoted(name)} any more, by which gates go from frame to frame"
                )

    def begin(self, feed: Feed, settle: bool) -> None:
        """Start a stream, with what the model has for a first frame; to `settle` is to run that frame until its gates
        are its own: each run settles those of one block more."""
        self._gates = {}
        for _ in self._ends if settle else ():
            self.run(feed, ())

    def run(self, feed: Feed, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The values of `names` for the next frame."""
        values = super().run({**feed, **self._gates}, list(dict.fromkeys((*names, *self._ends.values()))))
        self._gates = {name: values[gate] for name, gate in self._ends.items()}
        return {name: values[name] for name in names}


Opened = TypeVar("Opened", bound=Runner)


def opened(
    kind: Callable[[Contender, int], Opened], original: Contender, others: Sequence[Contender], threads: int
) -> tuple[Opened, list[Opened]]:
    """Runners for all the models. Raises `ModelError` where one lacks an output of the original."""
    runner, runners = kind(original, threads), [kind(other, threads) for other in others]
    for one, other in zip(runners, others, strict=True):
        if missing := [name for name in runner.outputs if name not in one.outputs]:
            raise ModelError(f"{other.title} has no output {quoted(missing[0])}, as {original.title} has")
    return runner, runners


def common_types(sources: Sequence[Source], input_shapes: InputShapes) -> dict[str, TensorType]:
    """What the inputs of all the models take: a dimension that one of them fixes is fixed.

    Raises `ModelError` where they cannot be fed with the same.
    """
    first = sources[0]
    bound = bind(first, input_shapes)
    types: dict[str, TensorType] = {}
    for source in sources:
        inputs = {value.name: tensor_type(value.type.tensor_type) for value in fed_inputs(source)}
        if source is first:
            types = {name: TensorType(kind.dtype, bound.get(name) or kind.dims) for name, kind in inputs.items()}
            continue
        if inputs.keys() != types.keys():
            shown = [", ".join(map(quoted, names)) or "nothing" for names in (inputs, types)]
            raise ModelError(f"{source.title} takes {shown[0]}, and {first.title} {shown[1]}")
        for name, kind in inputs.items():
            types[name] = _both(types[name], kind, f"input {quoted(name)} of {source.title}", first.title)
    return types


def _both(one: TensorType, other: TensorType, what: str, title: str) -> TensorType:
    if one.dtype != other.dtype:
        raise ModelError(f"{what} has another type than that of {title}")
    if one.dims is None or other.dims is None:
        return TensorType(one.dtype, one.dims or other.dims)
    if len(one.dims) != len(other.dims) or any(map(_differ, one.dims, other.dims)):
        raise ModelError(f"{what} is {_shown(other.dims)}, that of {title} is {_shown(one.dims)}")
    dims = (was if isinstance(was, int) else now for was, now in zip(one.dims, other.dims, strict=True))
    return TensorType(one.dtype, tuple(dims))


def _differ(one: Dim, other: Dim) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _shown(dims: Sequence[Dim]) -> str:
    return f"[{', '.join('?' if dim is None else str(dim) for dim in dims)}]"


def batches(samples: Samples, progress: Progress | None) -> Iterator[tuple[Feed, np.ndarray | None]]:
    """Each batch with its labels; `progress` hears of it when it is done."""
    done = 0
    for feed in samples.feeds():
        count = min(samples.batch, samples.count - done)
        yield feed, None if samples.labels is None else samples.labels[done : done + count]
        done += count
        if progress is not None:
            progress(done, samples.count)


def compare(
    original: Contender,
    others: Sequence[Contender],
    samples: Samples,
    threads: int = 0,
    progress: Progress | None = None,
    needs_classes: bool = False,
) -> list[tuple[Score, ...]]:
    """The scores of each of `others` over all samples. No more than one batch and the models is held.

    Raises `ModelError` where a model does not run or lacks an output, `DataError` where a label is no class, and with
    `needs_classes` where no output looks like classes.
    """
    runner, runners = opened(Runner, original, others, threads)
    meters = [Meter(runner.outputs) for _ in runners]
    checked = samples.labels is None
    for feed, labels in batches(samples, progress):
        reference = runner.run(feed, runner.outputs)
        if not checked:
            check_labels(reference, samples, needs_classes)
            checked = True
        for one, meter in zip(runners, meters, strict=True):
            meter.add(reference, one.run(feed, runner.outputs), labels)
    return [meter.result() for meter in meters]


def check_labels(outputs: Mapping[str, np.ndarray], samples: Samples, needs_classes: bool) -> None:
    """Raise `DataError` where a label is no class of the model's `outputs`, and with `needs_classes` where none of them
    looks like classes."""
    assert samples.labels is not None
    classes = {
        name: array.shape[1]
        for name, array in outputs.items()
        if isinstance(array, np.ndarray) and looks_like_classes(array)
    }
    if not classes and not needs_classes:
        return  # labels that nobody asked for: of a folder for each class, or in the .npz
    if not classes:
        raise DataError("the data have labels, but no output of the model looks like classes")
    widest = max(classes, key=lambda name: classes[name])
    check_range(samples.labels, classes[widest], samples.names, widest)
