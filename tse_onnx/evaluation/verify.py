"""The proof of a converted model that lies on disk, whatever has become of it since: that it still computes what its
conversion does.

The original is converted anew, by what the converted model remembers or by a plan. That conversion is verified as every
other is, and then both converted models run on the same samples. They have to agree as far as rounding goes: at each
output, and at each block whose value still has its name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, TensorProto

from tse_onnx.conversion.convert import ConvertResult, carry_out
from tse_onnx.conversion.report import Report
from tse_onnx.conversion.rewrite import style_of
from tse_onnx.data.given import DataLike
from tse_onnx.data.presets import Preprocessing
from tse_onnx.decision.decision import CONVERTED
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import CheckFailed, UsageError
from tse_onnx.evaluation.evaluate import Subject, marks_of
from tse_onnx.evaluation.run import Contender, Progress, Runner, batches
from tse_onnx.files.source import ModelLike
from tse_onnx.passes.blocks.block import KINDS
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.runtime.scores import Meter, Score
from tse_onnx.shown import Shown
from tse_onnx.timing import phase
from tse_onnx.verification.checks import Checks

_log = logging.getLogger(__name__)

# In decibels: noise of 0.0001 of the signal, or of 0.01 where a model has numbers of half precision.
_FINE, _COARSE = 80.0, 40.0
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, repr=False)
class Proof(Shown):
    """How a converted model compares with a conversion that was verified.

    `report` is that conversion's, `identical` says whether it made the very graph. Otherwise `outputs` have a score
    each, and `blocks`, by name, those whose value could be compared; for `hidden` ones only the outputs speak. `bound`
    is the signal-to-noise ratio in decibels that each has to reach.
    """

    original: str
    converted: str
    report: Report
    identical: bool
    samples: str
    outputs: tuple[Score, ...]
    blocks: tuple[tuple[str, Score], ...]
    hidden: tuple[str, ...]
    bound: float

    @property
    def failures(self) -> tuple[str, ...]:
        """One sentence for each value that differs by more than rounding."""
        named = [(f"output {quoted(score.output)}", score) for score in self.outputs]
        named += [(f"block {quoted(name)}", score) for name, score in self.blocks]
        return tuple(
            f"{name} of {self.converted} is {score.sqnr_db:.1f} dB from the conversion's, below the bound of "
            f"{self.bound:g} dB"
            for name, score in named
            if score.sqnr_db is not None and not score.sqnr_db >= self.bound
        )

    @property
    def passed(self) -> bool:
        """Whether every value is the conversion's, as far as rounding goes."""
        return not self.failures

    def require(self) -> None:
        """Raise `CheckFailed` where a value is another."""
        if self.failures:
            raise CheckFailed("; ".join(self.failures))


def verify(
    original: ModelLike,
    converted: ModelLike,
    *,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    data: DataLike | None = None,
    preprocess: Preprocessing = "unit",
    seed: int = 0,
    threads: int = 0,
    time_limit: float | None = None,
    min_sqnr: float | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Compare a `converted` model, which other tools may have changed since, with a verified conversion of `original`.

    What the converted model remembers says how it was made; where that is lost, `plan` with `selection` and `kinds`
    does. Both run on `data`, prepared as `preprocess` says, or on noise drawn from `seed`. `min_sqnr` is the
    signal-to-noise ratio in decibels that every value has to reach: 80, or 40 where there is half precision.
    `time_limit` bounds the seconds that the verification and the comparison may take together.

    Raises `ModelError` for models that do not belong together or do not run, `DataError`, `UsageError`, and
    `CheckFailed` where not even the new conversion passes, or the time is over. What differs is in the result.
    """
    if min_sqnr is not None and math.isnan(min_sqnr):
        raise UsageError("a bound is a number of decibels")
    checks = Checks(data=data, preprocess=preprocess, seed=seed, threads=threads, time_limit=time_limit)
    deadline = Deadline(time_limit)
    subject = Subject.of(original, [converted], None, EVERYTHING, input_shapes or {}, KINDS)
    source, (other,) = subject.source, subject.others
    if plan is None:
        plan, selection, kinds = marks_of(other, source), EVERYTHING, KINDS
    made = carry_out(
        source, None, plan=plan, selection=selection, style=style_of(), checks=checks, retile=False,
        input_shapes=subject.bound(), dynamic=False, kinds=kinds, expect=None, report=None,
        machine=None,
    )  # fmt: skip
    half = any(tensor.data_type in _HALF for model in (source.model, other.model) for tensor in model.graph.initializer)
    reference = Contender("the conversion", made.model, source.folder)
    inner = _inner(made, other.model)
    samples = checks.samples(subject.types)
    runners = [Runner(one, threads, tuple(inner.values()), deadline) for one in (reference, Contender.of(other))]
    outputs = [value.name for value in made.model.graph.output]
    meter = Meter([*outputs, *inner.values()])
    with phase(_log, f"comparing with the conversion on {samples.count} samples"):
        for feed, _ in batches(samples, progress):
            expected, found = (runner.run(feed, [*outputs, *inner.values()]) for runner in runners)
            meter.add(expected, found)
    scores = {score.output: score for score in meter.result()}
    changed = [decision.block.name for decision in made.blocks if decision.status == CONVERTED]
    return Proof(
        original=source.title,
        converted=other.title,
        report=made.report,
        identical=_bytes(made.model.graph) == _bytes(other.model.graph),
        samples=samples.text,
        outputs=tuple(scores[name] for name in outputs if name in scores),
        blocks=tuple((name, scores[value]) for name, value in inner.items() if value in scores),
        hidden=tuple(name for name in changed if name not in inner),
        bound=min_sqnr if min_sqnr is not None else _COARSE if half else _FINE,
    )


def _inner(made: ConvertResult, other: ModelProto) -> dict[str, str]:
    """The values that converted blocks make, by block, as far as both models have them and do not give them out."""
    common = _made(made.model.graph) & _made(other.graph)
    values = {
        decision.block.name: decision.block.made
        for decision in made.blocks
        if decision.status == CONVERTED and decision.block.scale is not None
    }
    return {name: value for name, value in values.items() if value in common}


def _made(graph: GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.output} - {value.name for value in graph.output}


def _bytes(graph: GraphProto) -> bytes:
    return graph.SerializeToString(deterministic=True)
