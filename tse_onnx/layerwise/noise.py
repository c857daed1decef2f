"""What each layer and each block of a network loses: from models and data to levels of noise."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from tse_onnx.data.choice import Data
from tse_onnx.data.feed import Feed
from tse_onnx.data.given import DataLike
from tse_onnx.data.samples import Samples
from tse_onnx.decision.analysis import analyse, input_types
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation, prepare
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.evaluation.evaluate import marks_of, wanted
from tse_onnx.files.external import check_locations
from tse_onnx.files.source import ModelLike, Source, open_model
from tse_onnx.layerwise.bench import Bench, Progress
from tse_onnx.layerwise.quantisers import is_quantised, quantised_layers
from tse_onnx.layerwise.result import Noise
from tse_onnx.passes.blocks.block import KINDS, Tiled
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject
from tse_onnx.runtime.widen import has_narrow_type
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)

_MEMORY = 2**30


def noise(
    model: ModelLike,
    converted: ModelLike | None = None,
    *,
    data: DataLike | Data,
    scheme: Scheme | None = None,
    rows: int | None = None,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    threads: int = 0,
    memory: int = _MEMORY,
    progress: Progress | None = None,
) -> Noise:
    """What each layer of a float `model` loses on `data` where it alone is quantised, and each block where it alone is
    tiled: on the spot, and at the outputs of the network; and what all of them lose together.

    The quantisers are those of `converted`, where that is a quantised model (QDQ) made of this one; else the model is
    quantised for this as a `scheme` says, calibrated on the same data. The tiles are those of `converted`, where that
    is a converted one, or of `rows`, a `tiling` or a `plan`, as `convert` takes them (with `selection` and `kinds`).
    Each change is measured behind the cut before it, on as many batches at once as `memory` bytes hold there. Nothing
    is written. `input_shapes` binds dynamic dimensions, `progress` is called after each change.

    Raises `ModelError` for models that do not run or do not match, `DataError` for data that do not fit, `UsageError`.
    """
    source, told = open_model(model), progress or (lambda what, done, total: None)
    check_locations(source.model, source.folder)
    if is_quantised(source.model):
        raise ModelError(
            f"{source.title} is quantised already: noise compares a float model with it; give the float model first"
        )
    if has_narrow_type(source.model):
        raise ModelError(f"{source.title} is in bfloat16, which has no quantisers")
    how, other = wanted(rows, tiling, plan), None if converted is None else open_model(converted)
    if other is not None:
        how = _plan_of(other, source, how)
        if is_quantised(other.model) and scheme is not None:
            raise UsageError(f"{other.title} has quantisers; a scheme is for a model that has none")
    made: Preparation | None = None
    if how is not None:
        made = prepare(source, how, input_shapes, tuple(KINDS) if other is not None else kinds, selection=selection)
    analysis = analyse(source, input_shapes, kinds) if made is None else made.analysis
    samples = (data if isinstance(data, Data) else Data(data)).samples(input_types(analysis))
    if other is not None and is_quantised(other.model):
        quantised_by, there = other.title, other
    else:
        scheme = scheme or Scheme()
        with phase(_log, "calibrating"):
            there = _quantised(source, samples, scheme, input_shapes, threads, told)
        quantised_by = f"{scheme.operators} by {scheme.calibration} on {samples.text}"
    index = analysis.main.index
    layers = quantised_layers(source, index, there, lenient=made is not None)
    if not layers:
        raise ModelError(f"{quantised_by} rounds no layer of {source.title}: there is no noise to measure")
    return Bench(source, analysis, layers, made, threads).noise(samples, quantised_by, memory, told)


def noise_in(
    source: Source, there: Source, samples: Samples, input_shapes: InputShapes, threads: int, told: Progress
) -> Noise:
    """What each layer of a float model loses by the quantisers of `there`, a quantised model made of it, on samples
    that are at hand; no blocks are looked for. Raises `ModelError`."""
    analysis = analyse(source, input_shapes, ())
    layers = quantised_layers(source, analysis.main.index, there)
    return Bench(source, analysis, layers, None, threads).noise(samples, there.title, _MEMORY, told)


def _plan_of(other: Source, source: Source, how: Plan | None) -> Plan | None:
    """The plan that a converted model was converted by; what was asked for where it is a quantised one alone."""
    tiled = any(isinstance(block, Tiled) for block in analyse(other, None, KINDS).blocks)
    if not tiled and is_quantised(other.model):
        return how
    if not tiled:
        raise ModelError(
            f"{other.title} has neither quantisers nor converted blocks: there is no noise in it to measure"
        )
    if how is not None:
        raise UsageError(
            f"{other.title} says how its blocks were tiled; a tiling is for a model that was not converted"
        )
    return marks_of(other, source)


def _quantised(
    source: Source, samples: Samples, scheme: Scheme, shapes: InputShapes | None, threads: int, told: Progress
) -> Source:
    subject = Subject.of(source, scheme.operators, shapes)

    def feeds() -> Iterator[Feed]:
        for number, feed in enumerate(samples.feeds()):
            told("calibrating", number * samples.batch, samples.count)
            yield feed

    return Source(quantised(subject, ranges_on(subject, feeds(), scheme, threads), scheme), name="the quantised model")
