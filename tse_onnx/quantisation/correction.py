"""Bias correction: the mean of each convolution's output is what it was in the float network.

Iterative, as Finkelstein, Almog and Grobman have it ("Fighting Quantization Bias With Bias", 2019): layer by layer, in
topological order, so that what is corrected runs on layers that have been.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tse_onnx.data.feed import Feed
from tse_onnx.errors import CheckFailed
from tse_onnx.passes.edit.biases import Bias, move, remember, with_biases
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.graph.index import GraphIndex, captured
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted
from tse_onnx.quantisation.qdq.subject import CONVOLUTIONS, Subject
from tse_onnx.runtime.session import Session

Floats = NDArray[np.float64]

# How far a mean may be from the float network's beside half a step of its bias: what the order of sums explains.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Corrected:
    """A layer whose bias was moved: how far the mean of its output was from the float network's in the channel that was
    furthest, as a part of the root mean square of that output, `before` (with all layers before it corrected) and
    `after`.

    `limited` counts the channels whose bias int32 does not hold.
    """

    layer: str
    before: float
    after: float
    limited: int = 0


@dataclass(frozen=True, eq=False)
class Moments:
    """The mean of each channel [channels] and the mean of its square."""

    mean: Floats
    square: Floats

    @property
    def size(self) -> float:
        """The root mean square over all channels; never zero."""
        return float(np.sqrt(self.square.mean())) or 1.0


def corrected(
    subject: Subject,
    model: ModelProto,
    feeds: Sequence[Feed],
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ModelProto, tuple[Corrected, ...], dict[str, str]]:
    """A copy of a quantised `model` of the `subject` with corrected biases, its layers, and those left with the reason.

    The values at the cut behind each layer are held for all `feeds`, so that everything is run once, and each layer
    twice. Everything runs as it is written, without onnxruntime's fusions: what is equal there is equal bit for bit.
    Raises `CheckFailed` where the mean of a layer is not the float network's when all is done.
    """
    wanted = {
        node.output[0]: name for name in subject.layers if (node := subject.node(name)).op_type in CONVOLUTIONS
    }  # fmt: skip
    made, biases, left = with_biases(model, wanted)
    float_moments = _moments(subject.model, biases, feeds, threads)
    found = dict[str, tuple[float, int]]()
    for layer, before, limited in _walk(made, biases, float_moments, feeds, threads):
        found[layer] = before, limited
        if progress is not None:
            progress(len(found), len(biases))
    result = _checked(made, biases, float_moments, found, feeds, threads)
    remember(model, made, biases)
    named = tuple(Corrected(wanted[one.layer], one.before, one.after, one.limited) for one in result)
    return made, named, {wanted[layer]: reason for layer, reason in left.items()}


def _moments(model: ModelProto, layers: Collection[str], feeds: Iterable[Feed], threads: int) -> dict[str, Moments]:
    """Those of the outputs of layers, one batch at a time."""
    session, sums = Session(model, None, layers, threads, alone=True, way_out=""), dict[str, list[Floats]]()
    counts = dict.fromkeys(layers, 0)
    for feed in feeds:
        for layer, array in session.run(feed, list(layers)).items():
            counts[layer] += array.size // array.shape[1]
            for power, total in enumerate(sums.setdefault(layer, [np.zeros(array.shape[1]) for _ in range(2)]), 1):
                total += _sum(array.astype(np.float64) ** power)
    return {layer: Moments(*(total / counts[layer] for total in sums[layer])) for layer in layers}


def _sum(array: np.ndarray) -> Floats:
    total: Floats = array.sum(axis=(0, *range(2, array.ndim)), dtype=np.float64)
    return total


def _walk(
    model: ModelProto,
    biases: Mapping[str, Bias],
    wanted: Mapping[str, Moments],
    feeds: Sequence[Feed],
    threads: int,
) -> Iterator[tuple[str, float, int]]:
    """Move the biases of a model, layer by layer; how far each was off at its worst channel, and how many of its
    channels int32 does not hold."""
    index = GraphIndex.of_graph(model.graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    ends = _ends(index, feeds[0])
    values: list[dict[str, np.ndarray]] = [dict(feed) for feed in feeds]
    place = {layer: index.producer(layer) or 0 for layer in biases}

    def run(part_of: Sequence[str], extra: Sequence[str] = ()) -> Callable[[Mapping[str, np.ndarray]], Feed]:
        given = {name: _type(array) for name, array in values[0].items()}
        given |= {name: TensorType(weights[name].data_type, tuple(weights[name].dims)) for name in extra}
        part = excerpt(index, given, part_of)
        asked = list(part_of)
        whole = part.model(model, {name: given[name] for name in part.given}, asked)
        session = Session(whole, None, (), threads, "a part of the model", alone=True, way_out="")
        return lambda known: session.run({name: known[name] for name in part.given}, asked)

    for layer in sorted(biases, key=lambda layer: place[layer]):
        at, node = place[layer], index.nodes[place[layer]]
        alive = [name for name, (made, last) in ends.items() if made < at and last > at]
        names = dict.fromkeys((*alive, node.input[0]))
        forward = run([name for name in names if name not in values[0]])
        for number, known in enumerate(values):
            new = forward(known)
            values[number] = {name: new[name] if name in new else known[name] for name in names}
        bias = biases[layer]
        tensor = weights[bias.initializer]
        alone = run([layer], [bias.initializer])
        mean, scale = _mean(alone, values, layer, tensor), wanted[layer]
        lacks = scale.mean - mean
        missed = np.abs(lacks - move(tensor, bias, lacks))
        limited = 0 if bias.step is None else int(np.sum(missed > bias.step))
        yield layer, float(np.max(np.abs(lacks) / scale.size)), limited
        held = _array(tensor)
        for number, known in enumerate(values):
            output = alone({**known, bias.initializer: held})[layer]
            values[number] = {name: known[name] for name in alive} | {layer: output}


def _mean(
    run: Callable[[Mapping[str, np.ndarray]], Feed], values: Iterable[Feed], layer: str, bias: TensorProto
) -> Floats:
    total, count, held = np.zeros(1), 0, _array(bias)
    for known in values:
        array = run({**known, bias.name: held})[layer]
        total, count = total + _sum(array), count + array.size // array.shape[1]
    mean: Floats = np.asarray(total / count)
    return mean


def _array(tensor: TensorProto) -> np.ndarray:
    return numpy_helper.to_array(tensor)


def _type(array: np.ndarray) -> TensorType:
    return TensorType(helper.np_dtype_to_tensor_dtype(array.dtype), (None, *array.shape[1:]))


def _ends(index: GraphIndex, feed: Feed) -> dict[str, tuple[int, int]]:
    """For each value that is computed or fed: where it is made (-1: fed) and where it is read last."""
    made = dict.fromkeys(feed, -1)
    last: dict[str, int] = {}
    for position, node in enumerate(index.nodes):
        made |= {name: position for name in node.output if name and not index.is_constant(name)}
        last |= dict.fromkeys((*node.input, *captured(node)), position)
    return {name: (at, last[name]) for name, at in made.items() if name in last}


def _checked(
    model: ModelProto,
    biases: Mapping[str, Bias],
    wanted: Mapping[str, Moments],
    found: Mapping[str, tuple[float, int]],
    feeds: Iterable[Feed],
    threads: int,
) -> tuple[Corrected, ...]:
    """The corrected layers, by a run of the whole model. Raises `CheckFailed`."""
    result = []
    for layer, moments in _moments(model, found, feeds, threads).items():
        apart, bias, (before, limited) = np.abs(moments.mean - wanted[layer].mean), biases[layer], found[layer]
        half = 0.0 if bias.step is None else bias.step.astype(np.float64) / 2
        over = apart > half * (1 + _ROUNDING) + _ROUNDING * wanted[layer].size
        if int(np.sum(over)) > limited:
            channel = int(np.argmax(apart - half))
            raise CheckFailed(
                f"the mean of channel {channel} of {quoted(layer)} is {apart[channel]:.3g} from the float network's "
                "after its bias was corrected: more than half a step of the bias"
            )
        result.append(Corrected(layer, before, float(np.max(apart / wanted[layer].size)), limited))
    return tuple(result)
