"""Run every check of a conversion."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from tse_onnx.data.feed import Feed
from tse_onnx.data.samples import Samples
from tse_onnx.decision.analysis import Analysis, input_types, trusted_values
from tse_onnx.decision.decide import decide
from tse_onnx.decision.decision import Convert, Decided
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation
from tse_onnx.errors import CheckFailed, ModelError
from tse_onnx.passes.blocks.block import Convertible, convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.edit.splice import Change
from tse_onnx.passes.graph.checker import Standard, complaint
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.nested import graphs_of
from tse_onnx.passes.graph.scope import scopes
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.runtime.scores import Meter, Score
from tse_onnx.runtime.session import Session, unverified
from tse_onnx.runtime.widen import has_narrow_type, widened, widened_feed
from tse_onnx.timing import phase
from tse_onnx.verification.checks import Checks
from tse_onnx.verification.drift import drift_of
from tse_onnx.verification.flat import FlatCheck, check_flat, flat_maps
from tse_onnx.verification.narrow import NarrowCheck, check_narrow, narrow_means
from tse_onnx.verification.oracle import Original, check_block, inner_values, probes, size_probes
from tse_onnx.verification.outside import outside_differences
from tse_onnx.verification.result import BlockCheck, Check, Drift, Verification
from tse_onnx.verification.steady import Still

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The checks of one block."""

    block: BlockCheck
    flat: FlatCheck
    half: NarrowCheck | None


Changed = tuple[Convertible, Form]
Group = tuple[Changed, ...]

# Bytes of maps, feeds and outputs that are held at once, as far as a single one leaves the choice.
_ROOM = 256 * 2**20


def verify(
    made: Preparation,
    converted: ModelProto,
    changes: Sequence[Change],
    checks: Checks,
    *,
    folders: tuple[Path | None, Path | None] = (None, None),
    renamed: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
) -> Verification:
    """Check `converted` against the model it was made from.

    `folders` are where the external weights of the original and of the converted model lie, `renamed` the weight files
    that bear another name there; `checks` says what is run, and what is allowed. Raises
    `ModelError` where the original itself is not valid or does not run, `CheckFailed` where only the converted model
    does not, or where the `deadline` passes.
    """
    deadline = deadline or Deadline(checks.time_limit)
    analysis, decisions = made.analysis, made.decisions
    inputs = checks.samples(input_types(analysis))
    with phase(_log, "comparing everything outside the edit"):
        done = [_outside(analysis, converted, changes, renamed), _full_rows(analysis)]
    with phase(_log, "onnx's checker"):
        valid, refused = _valid(analysis, converted, changes)
        done.append(valid)
    if not all(check.passed for check in done):
        return Verification(inputs.text, 0, tuple(done), (), ())
    if not changes and not analysis.bound and refused is None:  # the same bytes: nothing can differ, run or not
        equal = tuple(Drift(output.name, 0.0, None, None) for output in converted.graph.output)
        return Verification("not run: the model is unchanged", 0, tuple(done), (), equal)
    deadline.check()
    try:
        found, scores, remarks = _numbers(analysis, converted, decisions, inputs, folders, checks.threads, deadline)
    except ModelError as error:
        if refused is None:
            raise
        text = str(error).removesuffix(unverified())
        raise ModelError(f"the model is not valid: {refused}; and {text}{unverified()}") from error
    if refused is not None:
        remarks = (
            f"onnx.checker refuses the original as well, for the same: {refused}; onnxruntime runs both",
            *remarks,
        )
    blocks = tuple(one.block for one in found)
    if found:
        done.append(flat_maps([one.flat for one in found]))
    if halves := [one.half for one in found if one.half is not None]:
        done.append(narrow_means(halves))
    drift = drift_of(scores)
    if checks.max_drift is not None:
        done.append(_bounded(drift, checks.max_drift))
    text = inputs.text + ", in single precision" * has_narrow_type(analysis.source.model)
    own = scores if checks.data is not None else ()  # noise says nothing of accuracy
    return Verification(text, inputs.count, tuple(done), blocks, drift, remarks, own)


def _outside(
    analysis: Analysis, converted: ModelProto, changes: Sequence[Change], renamed: Mapping[str, str] | None
) -> Check:
    differences = outside_differences(analysis.source.model, converted, changes, analysis.bound, renamed)
    if differences:
        return Check("outside", False, f"the output differs from the input outside the edit: {', '.join(differences)}")
    return Check("outside", True, "everything outside the edit is byte for byte the input")


def _full_rows(analysis: Analysis) -> Check:
    tallest = max((block.extents[0] or 1 for block in analysis.blocks if block.extents), default=1)
    decided = decide(analysis.parts, Plan(Tiling(max(tallest, 1))), analysis.source.opset)
    changed = [decision.block.name for decision in decided if isinstance(decision, Convert)]
    if changed:
        return Check("full-rows", False, f"blocks would change although one tile covers them: {', '.join(changed)}")
    return Check("full-rows", True, "with as many rows as the tallest map the model is unchanged")


def _valid(analysis: Analysis, converted: ModelProto, changes: Sequence[Change]) -> tuple[Check, str | None]:
    """Whether onnx accepts the output as it accepts the input, and what it has against the latter."""
    slices = any(node.op_type == "Slice" for _, graph in graphs_of(converted) for node in graph.node)
    trusted = trusted_values(analysis, changes) if slices else frozenset()  # without a Slice nothing has to be trusted
    said = complaint(converted, trusted=trusted)
    if said is None:
        return Check("checker", True, "onnx.checker accepts the output, shapes included"), None
    standard = Standard.of(analysis.source.model, analysis.bound)
    if standard is None:
        return Check("checker", False, f"onnx.checker refuses the output: {said}"), None
    changed = {name for change in changes for edit in change.edits for name in edit.types}
    breach = standard.breach(converted, changed, trusted)
    own = standard.own.rstrip(".")
    if breach is not None:
        text = f"onnx.checker refuses the output for what it does not say of the input: {breach} (of the input: {own})"
        return Check("checker", False, text), own
    return Check(
        "checker", True, f"onnx.checker says nothing of the output that it does not say of the input: {own}"
    ), own


def _numbers(
    analysis: Analysis,
    converted: ModelProto,
    decisions: Sequence[Decided],
    inputs: Samples,
    folders: tuple[Path | None, Path | None],
    threads: int,
    deadline: Deadline,
) -> tuple[tuple[Found, ...], tuple[Score, ...], tuple[str, ...]]:
    """Run both models on every feed, and the blocks on the first one; what is to be remarked comes last.

    Only one of the models is open at a time: a window of feeds goes through the original first. Of the blocks, as many
    are looked at in one run of the converted model as leave room for their maps.
    """
    source, index = widened(analysis.source.model), analysis.main.index
    written, converted = converted, widened(converted)
    if source is not analysis.source.model:
        index = GraphIndex.of_graph(source.graph)
    forms = {
        decision.block.name: decision.form
        for decision in decisions
        if isinstance(decision, Convert) and decision.form is not None
    }
    tiled = [(block, forms[block.name]) for block in convertible(analysis.parts[0].blocks) if block.name in forms]
    sizes = _computed(index, (name for block, form in tiled for name in size_probes(form, block, index)))
    still = Still.of(tiled)
    taken = _distinct(sizes, _computed(index, still.original.values()))
    original = Original(source, index, folders[0], deadline=deadline)
    written_index = GraphIndex.of_graph(written.graph)
    twin_index = written_index if converted is written else GraphIndex.of_graph(converted.graph)
    rewritten = Original(converted, twin_index, folders[1], deadline=deadline)
    outputs = [value.name for value in source.graph.output]
    meter, found, not_finite = Meter(outputs), list[Found](), dict[str, None]()

    def before() -> Session:
        return Session(source, folders[0], taken, threads, deadline=deadline, large=large)

    def after(probed: Sequence[str] = ()) -> Session:
        try:
            title = "the converted model"
            return Session(converted, folders[1], probed, threads, title, deadline=deadline, large=large)
        except ModelError as error:  # the original runs, so this is a fault of the conversion
            raise CheckFailed(str(error)) from error

    def look(session: Session, group: Group, feed: Feed, reference: Feed, wanted: Iterable[str] = ()) -> Feed:
        """Check the blocks of a group in a run of the converted model, from which `wanted` are needed as well."""
        try:
            values = still.run(session, feed, reference, _distinct(wanted, _probed(group, index)))
        except ModelError as error:
            raise CheckFailed(str(error)) from error
        known = {**feed, **{name: reference[name] for name in sizes}, **values}
        for block, form in group:
            found.append(_found(form, original, rewritten, written_index, block, known))
        return values

    def compare(window: Sequence[tuple[Feed, Feed]], groups: Sequence[Group]) -> None:
        for group in groups[:-1]:
            look(after(_probed(group, index)), group, *window[0])
        session = after(_probed(groups[-1], index))
        for at, (feed, reference) in enumerate(window):
            meter.add(reference, look(session, () if at else groups[-1], feed, reference, outputs))
            not_finite.update(dict.fromkeys(name for name in outputs if _holds_no_number(reference[name])))

    feeds = map(widened_feed, inputs.feeds())
    first = next(feeds)
    groups = _groups(tiled, index, first)
    large = len(groups) > 1
    _log.info("running both models, blocks looked at in %d groups", len(groups))
    for number, window in enumerate(_windows(before, chain([first], feeds), _distinct(outputs, taken))):
        compare(window, groups if number == 0 else [()])
    found += _inner(analysis, source, converted, written, forms, folders, threads, deadline)
    remarks = tuple(f"output {quoted(name)} of the original holds what is not finite" for name in not_finite)
    if still.ends:
        remarks += (
            f"the drift is that of a scene that stands still; evaluate {setting('frames', True)} measures one "
            "that moves",
        )
    return tuple(found), meter.result(), remarks


def _found(
    form: Form, original: Original, converted: Original, written: GraphIndex, block: Convertible, values: Feed
) -> Found:
    """Every check of one block. `written` is the index of the converted graph in the model's own types."""
    check = check_block(form, original, converted, block, values)
    _log.debug("%s: largest error %.3g, tolerance %.3g", quoted(check.name), check.max_error, check.tolerance)
    flat = check_flat(form, original, converted, block, values)
    # A frozen gate pools nothing any more, so nobody has looked at what is pooled.
    half = check_narrow(form, written, block, values[block.input]) if block.input in values else None
    return Found(check, flat, half)


def _holds_no_number(value: object) -> bool:
    """Whether an output holds an infinity, or what is not a number."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all()


def _windows(
    opened: Callable[[], Session], feeds: Iterable[Feed], names: Sequence[str]
) -> Iterator[list[tuple[Feed, Feed]]]:
    """The feeds and what the original makes of them, as many at a time as there is room for; it is closed by then."""
    rest = iter(feeds)
    feed = next(rest, None)
    while feed is not None:
        session, window, held = opened(), list[tuple[Feed, Feed]](), 0
        while feed is not None and held < _ROOM:
            reference = session.run(feed, names)
            window.append((feed, reference))
            held += sum(getattr(value, "nbytes", 0) for value in (*feed.values(), *reference.values()))
            feed = next(rest, None)
        del session
        yield window


def _groups(tiled: Iterable[Changed], index: GraphIndex, feed: Feed) -> list[Group]:
    """The blocks in groups whose maps there is room for at once; at least one group."""
    batch = max((len(array) for array in feed.values() if array.ndim), default=1)
    groups: list[list[Changed]] = [[]]
    held = 0
    for block, form in tiled:
        size = _map_bytes(block, batch) * len(set(probes(form, block, index)))
        if groups[-1] and held + size > _ROOM:
            groups.append([])
            held = 0
        groups[-1].append((block, form))
        held += size
    return [tuple(group) for group in groups]


def _map_bytes(block: Convertible, batch: int) -> int:
    """The size of the map that a block scales, for a dynamic batch that is `batch`."""
    shape = (*(block.shape or ())[:1], block.channels, *block.extents)
    elements = math.prod(size or (1 if axis else batch) for axis, size in enumerate(shape))
    return elements * onnx.helper.tensor_dtype_to_np_dtype(block.dtype).itemsize


def _probed(group: Group, index: GraphIndex) -> tuple[str, ...]:
    return _computed(index, (name for block, form in group for name in probes(form, block, index)))


def _inner(
    analysis: Analysis,
    source: ModelProto,
    converted: ModelProto,
    written: ModelProto,
    forms: Mapping[str, Form],
    folders: tuple[Path | None, Path | None],
    threads: int,
    deadline: Deadline,
) -> Iterator[Found]:
    """The checks of the blocks in bodies and functions."""
    if not any(block.name in forms for part in analysis.parts[1:] for block in part.blocks):
        return
    every = (scopes(model, analysis.bound, evaluate)[1:] for model in (source, converted, written))
    for part, was, now, own in zip(analysis.parts[1:], *every, strict=True):
        before = Original(source, was.index, folders[0], deadline=deadline)
        after = Original(converted, now.index, folders[1], deadline=deadline)
        for block in convertible(part.blocks):
            if block.name in forms:
                form = forms[block.name]
                alone, values = inner_values(form, before, after, was, block, seed=0, threads=threads)
                yield _found(form, alone, after, own.index, block, values)


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
