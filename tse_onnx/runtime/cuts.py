"""A graph, cut: parts of it that run from the values that are there at one place to those that are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import ModelProto

from tse_onnx.errors import ModelError
from tse_onnx.files.source import Source
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.index import GraphIndex, captured
from tse_onnx.passes.graph.order import in_order
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.session import Session

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Stretch:
    """A part of the network, opened: what it reads and what it makes. Where it makes nothing there is no session."""

    session: Session | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def begin(self, values: Values, settle: bool) -> None:
        """Start a stream: nothing goes from one run to the next."""

    def run(self, values: Values) -> Values:
        """What it makes of `values`, which may hold more than it reads."""
        if self.session is None:
            return {}
        return self.session.run({name: values[name] for name in self.inputs}, self.outputs)


class Cuts:
    """The main graph of a model, whose `index` is given, and the cuts before each of its nodes.

    The cut before a place are the values that are made before it and read there or later: everything behind runs on
    these alone. `fed` are the inputs that a caller feeds. With `floats`, quantisers are run as they are written.
    """

    def __init__(
        self, source: Source, index: GraphIndex, fed: Sequence[str], threads: int = 0, *, floats: bool = False
    ) -> None:
        self.index = index
        self._source, self._fed, self._threads, self._floats = source, fed, threads, floats

    @cached_property
    def rank(self) -> Mapping[int, int]:
        """Place of the node at a position in topological order."""
        order, cyclic = in_order(self.index.nodes)
        return {position: place for place, position in enumerate((*order, *cyclic))}

    @cached_property
    def _lives(self) -> dict[str, tuple[int, int]]:
        """For each value that is computed or fed: where it is made (-1: fed) and where it is read last."""
        made = dict.fromkeys(self._fed, -1)
        last: dict[str, int] = {}
        for position, node in enumerate(self.index.nodes):
            at = self.rank[position]
            made.update((name, at) for name in node.output if name)
            for name in (*node.input, *captured(node)):
                last[name] = max(at, last.get(name, -1))
        return {name: (at, last[name]) for name, at in made.items() if name in last}

    def before(self, place: int) -> tuple[str, ...]:
        """The values that are made before a place in the order of execution, and read there or later."""
        return tuple(
            value
            for value, (made, last) in self._lives.items()
            if made < place <= last and not self.index.is_constant(value)
        )

    def reached(self, positions: Iterable[int]) -> frozenset[str]:
        """All values that the nodes at these positions bear on."""
        waiting = [name for position in positions for name in self.index.nodes[position].output]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name and name not in found:
                found.add(name)
                waiting += [made for use in self.index.uses(name) for made in self.index.nodes[use.node].output]
        return frozenset(found)

    def opened(
        self, values: Values, wanted: Iterable[str], edit: Edit | None = None, header: ModelProto | None = None
    ) -> Stretch:
        """The part that makes `wanted` of `values`, as it is after `edit`; `header` has the opsets and functions that
        it needs, where these are not the model's. Raises `ModelError` where something comes from elsewhere."""
        names = tuple(wanted)
        if not names:
            return Stretch(None, (), ())
        part = excerpt(self.index, values, names, edit)
        if part.missing:
            raise ModelError(f"the network cannot be cut: {quoted(part.missing[0])} comes from elsewhere")
        inputs = {name: _type(values[name]) for name in part.given}
        model = part.model(self._source.model if header is None else header, inputs, names)
        session = Session(
            model, self._source.folder, (), self._threads, "a part of the model", floats=self._floats, way_out=""
        )
        return Stretch(session, part.given, names)


def _type(array: np.ndarray) -> TensorType:
    return TensorType(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), (None,) * array.ndim)
