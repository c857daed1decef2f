"""Quantise a network on data, and say what that loses."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Collection
from dataclasses import replace

from tse_onnx.data.choice import Data
from tse_onnx.data.given import DataLike
from tse_onnx.data.samples import Samples
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.errors import UsageError
from tse_onnx.evaluation.run import Contender, common_types, compare
from tse_onnx.files.outputs import file_path
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.files.staging import staging
from tse_onnx.layerwise.bench import Progress
from tse_onnx.passes.reasons import quoted
from tse_onnx.quantisation.correction import Corrected, corrected
from tse_onnx.quantisation.keeping import Kept, Wish, kept_layers
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject
from tse_onnx.quantisation.result import QuantisedLayer, QuantiseResult
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)

LIMIT = 50
"""Samples that are calibrated on where nobody says how many."""
CORRECTIONS = ("bias",)
KEPT = "asked for"
"""Why a layer stays in float that was to be kept."""


def quantise(
    model: ModelLike,
    out: str | os.PathLike[str] | None = None,
    *,
    data: DataLike | Data,
    calibration: str = "percentile",
    operators: str = "convolutions",
    keep: int | str | Collection[str | int] = (),
    keep_loss: float | None = None,
    correct: str | None = None,
    input_shapes: InputShapes | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> QuantiseResult:
    """The network in eight bits: activations in uint8, weights in int8 with a scale for each output channel.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph` and is never changed. `data` has the samples that the ranges
    of values are taken from, `calibration` (`percentile`, `minmax`, `entropy`) says how: 50 of them, or `Data.limit`;
    all others judge the result. `operators` are the `convolutions`, whose inputs and weights are quantised, or `all`
    that onnxruntime knows, with their outputs. Layers to `keep` in float are given by the name of the node or of its
    output, or as a number: of those that lose most where they alone are quantised, on the samples of the ranges; with
    `keep_loss` as few of these as keep the divergence (of outputs that are no classes: the noise) on these samples
    within that. With `correct="bias"` the mean of each convolution's output is made what it was. `input_shapes` binds
    dynamic dimensions; `progress` is told a stage, what is done of it, and all of it.

    Written to `out` as a whole or not at all, once onnxruntime has run it. Raises `UsageError` for an unknown option or
    layer, `DataError` for fewer than two samples or what does not fit, `ModelError` for a model that is quantised
    already, has nothing to quantise, or is in an opset under 13, `CheckFailed` where a corrected mean or `keep_loss` is
    not met.
    """
    if correct is not None and correct not in CORRECTIONS:
        raise UsageError(f"what is corrected is {', '.join(CORRECTIONS)}, not {correct!r}")
    scheme, source, shapes = Scheme(calibration, operators), open_model(model), input_shapes or {}
    target = None if out is None else file_path(out)
    subject = Subject.of(source, operators, shapes)
    wish = Wish.of(keep, keep_loss, subject)
    chosen = data if isinstance(data, Data) else Data(data, limit=LIMIT)
    if chosen.frames:
        raise UsageError("a network is calibrated on samples, not on streams of frames")
    everything = replace(chosen, limit=None).samples(common_types([source], shapes))
    used, others = everything.parted(chosen.limit or everything.count, chosen.seed)
    used, others = (_by(samples, chosen.batch) for samples in (used, others))
    with contextlib.ExitStack() as stack:
        stage = None if target is None else stack.enter_context(staging(target))
        with phase(_log, f"calibrating on {used.count} samples"):
            ranges = ranges_on(subject, used.feeds(), scheme, threads)
        told = progress or (lambda what, done, total: None)
        kept = kept_layers(wish, source, subject, ranges, scheme, used, shapes, threads, told)
        made = uncorrected = quantised(subject, ranges, replace(scheme, keep=kept.names))
        found, uncorrectable = tuple[Corrected, ...](), dict[str, str]()
        if correct is not None:
            feeds = list(used.feeds())
            with phase(_log, "correcting biases"):
                made, found, uncorrectable = corrected(subject, made, feeds, threads, _stage(progress, "biases"))
        judges = others if others.count else used
        contenders = [Contender("the quantised model", made)]
        if correct is not None:
            contenders.append(Contender("the model before correction", uncorrected))
        reference = Contender.of(source)
        with phase(_log, f"judging on {judges.count} samples"):
            stage_of = _stage(progress, "judging")
            scores = compare(reference, contenders, judges, threads, stage_of, chosen.labels is not None)
        if stage is not None:
            with phase(_log, f"writing {quoted(str(target))}"):
                stage.write(made, None)
                stage.commit()
    corrections = {one.layer: one for one in found}
    layers = [
        QuantisedLayer(
            name,
            subject.node(name).op_type,
            name not in kept.names,
            _reason(kept, name),
            corrections.get(name),
            kept.shares.get(name),
        )
        for name in subject.layers
    ]
    layers += [QuantisedLayer(name, "", False, reason) for name, reason in subject.left.items()]
    return QuantiseResult(
        original=source.title,
        model=made,
        layers=tuple(layers),
        operators=operators,
        ranges=ranges,
        samples=used.text,
        scores=scores[0],
        uncorrected=scores[1] if correct is not None else None,
        judged=judges.text,
        held_out=bool(others.count),
        uncorrectable=tuple(uncorrectable.items()),
        path=target,
    )


def _reason(kept: Kept, name: str) -> str:
    if name not in kept.names:
        return ""
    return f"number {kept.worst.index(name) + 1} of those that lose most" if name in kept.worst else KEPT


def _stage(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, of: progress(what, done, of)


def _by(samples: Samples, batch: int | None) -> Samples:
    return samples if batch is None else samples.by(batch)
