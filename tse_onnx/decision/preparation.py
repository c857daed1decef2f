"""From a model and a plan to decisions: all that a conversion does before it changes anything."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from tse_onnx.decision.analysis import Analysis, Part, analyse, need_sizes
from tse_onnx.decision.decide import decide
from tse_onnx.decision.decision import CONVERTED, REFUSED, UNCHANGED, Convert, Decided, Keep, Refuse
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.selection import EVERYTHING, Selection, resolve
from tse_onnx.decision.trained import need_trained
from tse_onnx.files.source import Source
from tse_onnx.passes.blocks.block import Convertible, Pooling, Refused
from tse_onnx.passes.graph.nested import Body, Path
from tse_onnx.passes.graph.order import in_order
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.search.match import DEFAULT_KINDS

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """What a conversion starts from.

    `analysis` has the sizes that figures and checks are for; `written` is what the edits are made for. They differ
    where sizes stay dynamic in the written model.
    """

    analysis: Analysis
    written: Analysis
    decisions: tuple[Decided, ...]
    plan: Plan
    """What was decided by: the plan that was given, with the selection worked into it."""

    @property
    def dynamic(self) -> bool:
        """Whether the written model keeps the dynamic sizes that the figures bind."""
        return self.analysis is not self.written


def prepare(
    source: Source,
    plan: Plan,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    dynamic: bool = False,
    selection: Selection = EVERYTHING,
) -> Preparation:
    """Analyse a model and decide what becomes of each block, by `plan` with `selection` worked into it.

    With `dynamic`, `input_shapes` are the sizes to report and verify for, and the model keeps its own. Raises
    `UsageError` where the plan was trained with other weights than the model's.
    """
    need_trained(plan, source)
    made = _prepared(source, plan, input_shapes, kinds, dynamic, selection)
    _log_decided(made.decisions)
    return made


def _prepared(
    source: Source,
    plan: Plan,
    input_shapes: InputShapes | None,
    kinds: Collection[str],
    dynamic: bool,
    selection: Selection,
) -> Preparation:
    analysis = analyse(source, input_shapes, kinds)
    plan = resolve(in_data_flow(analysis.parts) if selection else analysis.blocks, plan, selection)
    if not dynamic:
        need_sizes(analysis)
        return Preparation(analysis, analysis, decide(analysis.parts, plan, source.opset), plan)
    written = analyse(source, None, kinds)
    decisions = decide(written.parts, plan, source.opset, dynamic=True)
    sized = decide(analysis.parts, plan, source.opset)
    return Preparation(analysis, written, tuple(map(_together, decisions, sized)), plan)


def _log_decided(decisions: Collection[Decided]) -> None:
    counts = Counter(decision.status for decision in decisions)
    _log.info("decided: " + ", ".join(f"{counts[status]} {status}" for status in (CONVERTED, UNCHANGED, REFUSED)))
    if _log.isEnabledFor(logging.DEBUG):
        for decision in decisions:
            if isinstance(decision.block, Refused):  # said where it was matched
                continue
            why = decision.reason if decision.status != CONVERTED else str(decision.choice)
            _log.debug("%s: %s, %s", quoted(decision.block.name), decision.status, why)


def _together(written: Decided, sized: Decided) -> Decided:
    """A decision on the model as written, with the geometry that it has at the size of the report."""
    if sized.form is not None and sized.choice is not None and sized.choice.any_size:
        return sized
    if isinstance(written, Convert) and isinstance(sized.block, Convertible):
        return replace(written, block=sized.block, form=written.form or sized.form)
    if isinstance(written, Keep) and isinstance(sized, Keep):
        return replace(written, block=sized.block)
    if isinstance(written, Refuse) and not isinstance(sized, Refuse):
        return replace(written, block=sized.block)
    return sized


def in_data_flow(parts: Iterable[Part]) -> tuple[Pooling, ...]:
    """The blocks in the order in which data reach them: a body's where its node stands, those of functions last."""
    places: dict[Path, dict[int, int]] = {}
    keyed = []
    for part in parts:
        path = part.scope.path
        order, cyclic = in_order(part.scope.index.nodes)
        places[path] = {position: place for place, position in enumerate((*order, *cyclic))}
        outer = []
        for depth, step in enumerate(path):
            if isinstance(step, Body):
                outer.append((0, places[path[:depth]][step.position], step.attribute, step.number))
            else:
                outer.append((1, step.number, "", 0))
        keyed += [((*outer, (0, places[path][block.squeeze.position], "", 0)), block) for block in part.blocks]
    return tuple(block for _, block in sorted(keyed, key=lambda pair: pair[0]))
