"""Run every check of a conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from onnx import ModelProto

from tse_onnx.analysis import Analysis
from tse_onnx.errors import CheckFailed, ModelError
from tse_onnx.inputs import Inputs
from tse_onnx.passes.index import GraphIndex
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.scope import scopes
from tse_onnx.passes.splice import Change
from tse_onnx.passes.tiling import Cover, Tiling
from tse_onnx.plan import CONVERTED, Decision, Plan, decide
from tse_onnx.validity import complaint
from tse_onnx.verification.drift import DriftMeter
from tse_onnx.verification.oracle import Original, check_block, check_inner, probes, size_probes
from tse_onnx.verification.outside import outside_differences
from tse_onnx.verification.result import BlockCheck, Check, Drift, Verification
from tse_onnx.verification.session import Session
from tse_onnx.verification.widen import has_narrow_type, widened, widened_feed


def verify(
    analysis: Analysis,
    converted: ModelProto,
    decisions: Sequence[Decision],
    changes: Sequence[Change],
    inputs: Inputs,
    *,
    folders: tuple[Path | None, Path | None] = (None, None),
    renamed: Mapping[str, str] | None = None,
    max_drift: float | None = None,
    threads: int = 0,
) -> Verification:
    """Check `converted` against the model it was made from.

    `folders` are where the external weights of the original and of the converted model lie, `renamed` the weight files
    that bear another name there; `max_drift` bounds the largest absolute difference of any output. Raises `ModelError`
    where the original itself is not valid or does not run, `CheckFailed` where only the converted model does not.
    """
    checks = [
        _outside(analysis, converted, changes, renamed),
        _full_rows(analysis),
        _valid(analysis, converted),
    ]
    if not all(check.passed for check in checks):
        return Verification(inputs.text, 0, tuple(checks), (), ())
    if not changes and not analysis.bound:  # the same bytes: nothing can differ, whether or not onnxruntime runs them
        same = tuple(Drift(output.name, 0.0, None, None) for output in converted.graph.output)
        return Verification("not run: the model is unchanged", 0, tuple(checks), (), same)
    blocks, drift = _numbers(analysis, converted, decisions, inputs, folders, threads)
    if max_drift is not None:
        checks.append(_bounded(drift, max_drift))
    text = inputs.text + ", in single precision" * has_narrow_type(analysis.source.model)
    return Verification(text, inputs.samples, tuple(checks), blocks, drift)


def _outside(
    analysis: Analysis, converted: ModelProto, changes: Sequence[Change], renamed: Mapping[str, str] | None
) -> Check:
    differences = outside_differences(analysis.source.model, converted, changes, analysis.bound, renamed)
    if differences:
        return Check("outside", False, f"the output differs from the input outside the edit: {', '.join(differences)}")
    return Check("outside", True, "everything outside the edit is byte for byte the input")


def _full_rows(analysis: Analysis) -> Check:
    tallest = max((block.extents[0] or 1 for block in analysis.blocks if block.extents), default=1)
    decided = decide(analysis.blocks, Plan(Tiling(max(tallest, 1))), analysis.source.opset)
    changed = [decision.block.name for decision in decided if decision.status == CONVERTED]
    if changed:
        return Check("full-rows", False, f"blocks would change although one tile covers them: {', '.join(changed)}")
    return Check("full-rows", True, "with as many rows as the tallest map the model is unchanged")


def _valid(analysis: Analysis, converted: ModelProto) -> Check:
    said = complaint(converted)
    if said is None:
        return Check("checker", True, "onnx.checker accepts the output, shapes included")
    own = complaint(analysis.source.model)
    if own is not None:
        raise ModelError(f"the model is not valid: {own.rstrip('.')}; --no-verify converts it as it is")
    return Check("checker", False, f"onnx.checker refuses the output: {said}")


def _numbers(
    analysis: Analysis,
    converted: ModelProto,
    decisions: Sequence[Decision],
    inputs: Inputs,
    folders: tuple[Path | None, Path | None],
    threads: int,
) -> tuple[tuple[BlockCheck, ...], tuple[Drift, ...]]:
    """Run both models on every feed, and the blocks on the first one."""
    source, index, blocks = analysis.source.model, analysis.main.index, tuple[BlockCheck, ...]()
    narrow = has_narrow_type(source)
    if narrow:
        source, converted = widened(source), widened(converted)
        index = GraphIndex.of_graph(source.graph)
    covers = {
        decision.block.name: decision.cover
        for decision in decisions
        if decision.status == CONVERTED and decision.cover is not None
    }
    tiled = [(block, covers[block.name]) for block in analysis.parts[0].blocks if block.name in covers]
    probed = _computed(index, (name for block, _ in tiled for name in probes(block, index)))
    sizes = _computed(index, (name for block, _ in tiled for name in size_probes(block, index)))
    before = Session(source, folders[0], sizes, threads)
    original = Original(source, index, folders[0])
    try:
        after = Session(converted, folders[1], probed, threads, "the converted model")
    except ModelError as error:  # the original runs, so this is a fault of the conversion
        raise CheckFailed(str(error)) from error
    meter = DriftMeter(before.outputs)
    for number, given in enumerate(inputs):
        first, feed = number == 0, widened_feed(given) if narrow else given
        reference = before.run(feed, _distinct(before.outputs, sizes if first else ()))
        try:
            values = after.run(feed, _distinct(after.outputs, probed if first else ()))
        except ModelError as error:
            raise CheckFailed(str(error)) from error
        if first:
            known = {**feed, **{name: reference[name] for name in sizes}, **values}
            blocks = tuple(check_block(original, block, cover, known) for block, cover in tiled)
            blocks += tuple(_inner(analysis, source, converted, covers, folders))
        meter.add(reference, values)
    return blocks, meter.result()


def _inner(
    analysis: Analysis,
    source: ModelProto,
    converted: ModelProto,
    covers: Mapping[str, Cover],
    folders: tuple[Path | None, Path | None],
) -> Iterator[BlockCheck]:
    """The checks of the blocks in bodies and functions."""
    if not any(block.name in covers for part in analysis.parts[1:] for block in part.blocks):
        return
    scopes_before, scopes_after = (scopes(model, analysis.bound) for model in (source, converted))
    for part, was, now in zip(analysis.parts[1:], scopes_before[1:], scopes_after[1:], strict=True):
        before, after = Original(source, was.index, folders[0]), Original(converted, now.index, folders[1])
        for block in part.blocks:
            if block.name in covers:
                yield check_inner(before, after, was, block, covers[block.name], seed=0)


def _computed(index: GraphIndex, names: Iterable[str]) -> tuple[str, ...]:
    """The values among `names` that a node makes; the others are fed."""
    return tuple(dict.fromkeys(name for name in names if name not in index.inputs))


def _distinct(*names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(names)))


def _bounded(drift: Sequence[Drift], bound: float) -> Check:
    worst = max(drift, key=lambda one: one.max_abs, default=None)
    if worst is not None and not worst.max_abs <= bound:
        text = f"output {quoted(worst.output)} drifts by {worst.max_abs:.3g}, more than the bound of {bound:g}"
        return Check("drift", False, text)
    return Check("drift", True, f"no output drifts by more than {bound:g}")
