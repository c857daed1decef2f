"""A network that is run again and again with some of its blocks changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Union

import numpy as np
import onnx
from onnx import ModelProto

from tse_onnx.conversion.rewrite import rewrite, style_of
from tse_onnx.data.feed import Feed
from tse_onnx.decision.analysis import Analysis, analyse, need_sizes
from tse_onnx.decision.buffering import BlockBuffering, measure
from tse_onnx.decision.decide import decide, decide_block, network_macs
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import Preparation
from tse_onnx.evaluation.run import Contender, FrameRunner
from tse_onnx.files.source import Source
from tse_onnx.passes.blocks.block import Convertible, Pooling, convertible
from tse_onnx.passes.blocks.choice import Choice, Form, Site
from tse_onnx.passes.blocks.previous import Carried, Previous
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.forms.squeeze import MEAN
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.lowering import Style, lower
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.runtime.cuts import Cuts, Stretch, Values
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.widen import widened, widened_feed
from tse_onnx.tuning.choices import Combination, carries
from tse_onnx.tuning.statistics import Gate, Means, gate_of


@dataclass(frozen=True)
class Stream:
    """The whole network, opened, with gates that go from each run to the next."""

    runner: FrameRunner
    outputs: tuple[str, ...]

    def begin(self, values: Values, settle: bool) -> None:
        """Start a stream with its first frame, which is run until its gates are its own, to `settle`."""
        self.runner.begin(values, settle)

    def run(self, values: Values) -> Values:
        """What it makes of the next frame."""
        return self.runner.run(values, self.outputs)


Whole = Union[Stretch, Stream]
"""A whole network, opened."""


class Network:
    """A model with its blocks, and the cuts before each of them.

    What stands before a block is the same whatever becomes of the block. The cut before it are the values that are
    computed there and read later: everything behind runs on these alone. Losses are `told_from` what another network
    makes, as the one that this was quantised from.
    """

    def __init__(
        self,
        source: Source,
        input_shapes: InputShapes | None = None,
        kinds: Collection[str] = DEFAULT_KINDS,
        threads: int = 0,
        told_from: Network | None = None,
    ) -> None:
        self.told_from = told_from
        source = replace(source, model=widened(source.model))
        self.analysis: Analysis = analyse(source, input_shapes, kinds)
        need_sizes(self.analysis)
        self.source, self._threads = source, threads
        self.blocks: tuple[Convertible, ...] = convertible(self.analysis.blocks)
        self._folder = source.folder
        self._observer: Session | None = None
        self._main = {block.name: block for block in convertible(self.analysis.parts[0].blocks)}
        self.sites: dict[str, Site] = {
            block.name: site
            for part in self.analysis.parts
            for site in [Site(part.scope, source.opset, False, part.blocks)]
            for block in part.blocks
        }
        self._counted: dict[tuple[str, Choice | None], BlockBuffering] = {}

    @property
    def outputs(self) -> list[str]:
        """The names of the model's outputs."""
        return [value.name for value in self.source.model.graph.output]

    def cuttable(self, name: str) -> bool:
        """Whether the block stands in the main graph, so that the network can be cut before it."""
        return name in self._main

    # What its blocks come to.

    def counted(self, block: Pooling, choice: Choice | None) -> BlockBuffering:
        """What a block buffers with a choice made, by the paper's metric, and what it computes more."""
        key = (block.name, choice)
        if key not in self._counted:
            (self._counted[key],) = measure([decide_block(block, choice, self.sites[block.name])]).blocks
        return self._counted[key]

    def macs_added(self, combination: Combination) -> int:
        """The multiply-accumulates that these choices add, for one image."""
        choices = dict(combination)
        return sum(self.counted(block, choices.get(block.name)).macs_added or 0 for block in self.blocks)

    @cached_property
    def macs(self) -> int:
        """The multiply-accumulates of the original, for one image."""
        return network_macs(self.analysis.parts)

    # The original.

    @cached_property
    def _original(self) -> Session:
        return self._session(self.source.model)

    def original(self, feed: Feed) -> Values:
        """What the original makes of a batch."""
        return self._original.run(self._fed(feed), self.outputs)

    def reference(self, feed: Feed) -> Values:
        """What losses are told from, for a batch: what the original makes of it, unless that is another network."""
        return (self.told_from or self).original(feed)

    def observed(self, feed: Feed, axis: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """The gates [samples, channels] and the means of each row along a spatial `axis` [samples, channels, height] of
        one batch, by block name; None for means where the map has no such axis."""
        if not self._main:
            return {}
        index = self.analysis.main.index
        wanted = [name for block in self._main.values() for name in _seen(block) if name not in index.inputs]
        names = list(dict.fromkeys(wanted))
        if self._observer is None:
            self._observer = self._session(self.source.model, names)
        fed = self._fed(feed)
        values = {**fed, **self._observer.run(fed, names)}
        return {name: (_gates(block, values), _row_means(block, values, axis)) for name, block in self._main.items()}

    def observe_no_more(self) -> None:
        """Let the session go that shows what is inside."""
        self._observer = None

    def _fed(self, feed: Feed) -> Feed:
        return widened_feed(feed)

    # With all its blocks.

    def changed(self, combination: Combination, means: str | None = None) -> ModelProto:
        """The model with these choices made; `means` names how means are computed, as for a conversion."""
        made = self.prepared(dict(combination))
        return rewrite(made, style_of(means=means), owned=False)[0]

    def prepared(self, choices: Mapping[str, Choice | None]) -> Preparation:
        """A conversion with these choices, by block name, decided."""
        return self._prepared(choices, self.analysis)

    def _prepared(self, choices: Mapping[str, Choice | None], analysis: Analysis) -> Preparation:
        plan = Plan(None, choices)
        return Preparation(analysis, analysis, decide(analysis.parts, plan, self.source.opset), plan)

    def together(self, combination: Combination) -> Whole:
        """The whole model with these choices made, opened."""
        changed, title = self.changed(combination), "the converted model"
        if carries(combination):
            runner = FrameRunner(Contender(title, changed, self._folder), self._threads)
            return Stream(runner, tuple(self.outputs))
        session = self._session(changed, title=title)
        inputs = tuple(self.analysis_inputs)
        return Stretch(session, inputs, tuple(self.outputs))

    @cached_property
    def analysis_inputs(self) -> list[str]:
        """The names of the inputs that are fed."""
        from tse_onnx.decision.inputs import fed_inputs

        return [value.name for value in fed_inputs(self.source)]

    def start(self, feed: Feed) -> Values:
        """What the network is fed with."""
        return dict(self._fed(feed))

    # Cut before a block.

    @cached_property
    def _cuts(self) -> Cuts:
        return Cuts(self.source, self.analysis.main.index, self.analysis_inputs, self._threads)

    def place(self, name: str) -> int:
        """Where in the order of execution a block begins."""
        anatomy = self._main[name].anatomy
        return min(self._cuts.rank[position] for position in anatomy.squeeze_nodes)

    def cut(self, name: str) -> tuple[str, ...]:
        """The values that are computed before a block and read in it or later."""
        return self._cuts.before(self.place(name))

    def cut_bytes(self, name: str) -> int:
        """Bytes of a cut for one sample, as far as types are known."""
        types = self.analysis.main.types
        return sum(_bytes(types[value]) for value in self.cut(name))

    def share(self, name: str) -> float:
        """How much of the network stands behind the cut before a block, by the elements that are made: 0 to 1."""
        return 1 - self._shares.get(name, 0.0)

    @cached_property
    def _shares(self) -> dict[str, float]:
        types, index = self.analysis.main.types, self.analysis.main.index
        sizes = [0] * len(index.nodes)
        for position, node in enumerate(index.nodes):
            sizes[self._cuts.rank[position]] = sum(_bytes(types[name]) for name in node.output if name)
        sums = np.concatenate([[0], np.cumsum(sizes)])
        return {name: float(sums[self.place(name)] / max(sums[-1], 1)) for name in self._main}

    def between(self, values: Values, wanted: Sequence[str]) -> Stretch:
        """The part of the original that makes `wanted` of `values`."""
        return self._cuts.opened(values, [name for name in wanted if name not in values])

    def block(self, name: str, choice: Choice | None, values: Values) -> Stretch:
        """A block alone, with a choice made: from the cut before it, and what is `handed` to it, to what it scales."""
        block = self._main[name]
        edit = None if isinstance(choice, Previous) else self._edit(block, choice)
        return self._cuts.opened(values, [self.scaled(name)], edit)

    def handed(self, name: str, choice: Choice | None, gate: np.ndarray | None) -> Values:
        """What a block gets from the frame before, whose gate is `gate` [channels]; with None it is a first frame.

        While all else is the original, a block that takes the gates of the frame before is the original's own, but
        that these stand where the gate was.
        """
        form = self._form(self._main[name], choice)
        if not isinstance(form, Carried):
            return {}
        dims = [1 if dim is None else dim for dim in form.dims]
        along = [-1 if axis == form.channel else 1 for axis in range(len(dims))]
        numbers = np.reshape(form.first if gate is None else gate, along)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(form.dtype)
        return {form.value: np.broadcast_to(numbers, dims).astype(dtype)}

    def scaled(self, name: str) -> str:
        """The value that a block makes."""
        return self._main[name].made

    def behind(self, name: str, values: Values) -> Stretch:
        """Everything behind a block: from what it scales, and the cut before it, to the outputs that it reaches."""
        return self._cuts.opened(values, [output for output in self.outputs if self._reaches(name, output)])

    def _reaches(self, name: str, output: str) -> bool:
        position = self.analysis.main.index.producer(output)
        return position is not None and self._cuts.rank[position] >= self.place(name)

    def _edit(self, block: Convertible, choice: Choice | None) -> Edit | None:
        form = self._form(block, choice)
        return None if form is None else lower(block, form, self.analysis.main, self._taken, Style(folding=False))

    def _form(self, block: Convertible, choice: Choice | None) -> Form | None:
        return decide_block(block, choice, Site(self.analysis.main, self.source.opset)).form

    @cached_property
    def _taken(self) -> set[str]:
        return taken_names(self.source.model)

    def _session(self, model: ModelProto, extra: Iterable[str] = (), title: str = "the model") -> Session:
        return Session(model, self._folder, extra, self._threads, title, way_out="")


@dataclass(frozen=True)
class Facts:
    """What data say of one block, as far as a run of the model shows it; `gates` are those of each sample [samples,
    channels]."""

    gate: Gate | None
    means: Means | None
    gates: np.ndarray | None = None


def facts_on(network: Network, feeds: Iterable[Feed], axis: int = 0) -> dict[str, Facts]:
    """What data say of a network's blocks, by name: of those that stand in its main graph. The means are those of rows
    along a spatial `axis`."""
    seen: dict[str, list[np.ndarray]] = {}
    means: dict[str, Means] = {}
    for feed in feeds:
        for name, (gate, rows) in network.observed(feed, axis).items():
            seen.setdefault(name, []).append(gate)
            if rows is not None:
                means.setdefault(name, Means(rows.shape[2], rows.shape[1])).add(rows)
    network.observe_no_more()
    joined = {name: np.concatenate(gates) for name, gates in seen.items()}
    return {name: Facts(gate_of(gates), means.get(name), gates) for name, gates in joined.items()}


def _seen(block: Convertible) -> tuple[str, ...]:
    return *block.anatomy.gates, block.anatomy.squeeze.input


def _gates(block: Convertible, values: Values) -> np.ndarray:
    """Whatever axes of extent one a gate has, its samples and channels: of one branch after the other."""
    anatomy, many = block.anatomy, block.gates or 1
    each = [_gate(block, name, many // len(anatomy.gates), values) for name in anatomy.gates]
    return np.concatenate(each, axis=1) if len(each) > 1 else each[0]


def _gate(block: Convertible, name: str, channels: int, values: Values) -> np.ndarray:
    anatomy = block.anatomy
    gate = np.asarray(values[name], np.float64)
    samples = values[anatomy.squeeze.input].shape[0]
    if gate.ndim == len(anatomy.map_axes):
        own = ["N", *(letter for letter in anatomy.map_axes if letter in "RC")]
        gate = np.moveaxis(gate, [anatomy.map_axes.index(letter) for letter in own], range(len(own)))
        gate = gate.reshape(*gate.shape[: len(own)], -1).mean(axis=-1)  # spread over the map, in some exports
        gate = gate.reshape(len(gate), -1)
    return np.broadcast_to(gate.reshape(-1, gate.shape[-1]), (samples, channels))


def _row_means(block: Convertible, values: Values, axis: int) -> np.ndarray | None:
    squeeze = block.anatomy.squeeze
    if axis >= len(squeeze.spatial) or squeeze.statistic != MEAN:
        return None
    array = np.moveaxis(values[squeeze.input], (squeeze.channel, squeeze.spatial[axis]), (1, 2))
    means: np.ndarray = array.reshape(*array.shape[:3], -1).astype(np.float64).mean(axis=3)
    return means


def _bytes(kind: TensorType) -> int:
    size = 4
    for dim in (kind.sizes or ())[1:]:
        size *= dim or 1
    return size
