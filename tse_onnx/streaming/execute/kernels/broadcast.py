"""Elementwise operators of several operands: a row of the output, and what of each operand is spread over it.

Operands may have other ranks than the output, and rows that lie in another axis, in merged rows, or not at all. What a
row is made of is found by index arithmetic along the one axis in which the output's rows lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tse_onnx.errors import ModelError
from tse_onnx.passes.reasons import quoted
from tse_onnx.streaming.execute.kernels.cutting import cut, joined, stackable
from tse_onnx.streaming.execute.kernels.kernel import Rows, Site, Stacking, Stored
from tse_onnx.streaming.network.needs.axis import Axis
from tse_onnx.streaming.network.network import Tensor


class Broadcast(Stacking):
    """The node itself on what its operands have for one row."""

    def __init__(self, site: Site) -> None:
        made, names = site.made, dict.fromkeys(name for name in site.node.input if name)
        _refuse_others(site)
        self._parts: dict[str, Part] = {}
        self._cut: dict[str, list[np.ndarray]] = {}
        for name in names:
            tensor, value = site.network.tensors.get(name), site.weights.get(name)
            if tensor is not None:
                self._parts[name] = Part.of(made, tensor)
            elif value is not None:
                at, places = _places(made, value.shape)
                if places is not None:
                    self._cut[name] = [np.ascontiguousarray(value.take(each, axis=at)) for each in places]
        self._run = site.single(fed={name: rows[0] for name, rows in self._cut.items()})
        self._stacks = stackable(made) and not self._cut and all(part.stacks for part in self._parts.values())

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {name: part.takes(row) for name, part in self._parts.items()}

    def stack(self, made: range, rows: Mapping[str, Stored]) -> np.ndarray | None:
        if not self._stacks:
            return None
        return self._run({name: part.stack(made, rows[name]) for name, part in self._parts.items()})

    def make(self, row: int, rows: Rows) -> np.ndarray:
        feed = {name: part.make(row, rows[name]) for name, part in self._parts.items()}
        for name, parts in self._cut.items():
            feed[name] = parts[row]
        return self._run(feed)


@dataclass
class Part:
    """What one operand that streams has for a row: at `places[row]` of its axis `at`, or all of it without places."""

    tensor: Tensor
    at: int
    places: list[np.ndarray] | None
    tokens: list[np.ndarray] | None = field(init=False)
    whole: np.ndarray | None = field(init=False, default=None)

    @classmethod
    def of(cls, made: Tensor, tensor: Tensor) -> Part:
        """What a tensor has for the rows of one that is made of it by spreading."""
        return cls(tensor, *_places(made, tensor.dims))

    def __post_init__(self) -> None:
        axis = self.tensor.rows
        self.tokens = None
        if self.places is not None and axis is not None and axis.axis == self.at:
            self.tokens = [places // axis.inner % axis.size for places in self.places]

    def takes(self, row: int) -> Sequence[int]:
        if self.tokens is None:
            return range(self.tensor.row_count)
        return tuple(sorted(set(self.tokens[row].tolist())))

    def make(self, row: int, stored: Mapping[int, np.ndarray]) -> np.ndarray:
        if self.tokens is None or self.places is None:
            value = self._joined(row, stored)
            return value if self.places is None else value.take(self.places[row], axis=self.at)
        axis, needed = self.tensor.rows, self.takes(row)
        assert axis is not None
        places, tokens = self.places[row], self.tokens[row]
        within = places // (axis.inner * axis.size) * axis.inner + places % axis.inner
        if len(needed) == 1:
            value = stored[needed[0]]
            same = len(within) == value.shape[self.at] and bool(np.all(within == np.arange(len(within))))
            return value if same else value.take(within, axis=self.at)
        pairs = zip(tokens.tolist(), within.tolist(), strict=True)
        return np.concatenate([stored[token].take([place], axis=self.at) for token, place in pairs], axis=self.at)

    @property
    def stacks(self) -> bool:
        """Whether each row of the output has a whole row of the operand, or all have the only one."""
        if self.tokens is None or self.places is None:
            return self.places is None and self.tensor.row_count == 1
        axis = self.tensor.rows
        assert axis is not None
        return axis.plain and all(len(tokens) == 1 for tokens in self.tokens)

    def stack(self, made: range, stored: Stored) -> np.ndarray:
        """What the operand has for several rows, one beside the other."""
        if self.tokens is None:
            return stored[0]
        tokens = [int(self.tokens[row][0]) for row in made]
        return stored[tokens[0]] if len(set(tokens)) == 1 else stored.together(tokens)

    def _joined(self, row: int, stored: Mapping[int, np.ndarray]) -> np.ndarray:
        """The whole operand, put together once an image."""
        rows = [stored[number] for number in range(self.tensor.row_count)]
        if self.whole is None or row == 0:
            self.whole = joined(rows, self.tensor.rows)
        return self.whole


def _refuse_others(site: Site) -> None:
    """Raise `ModelError` where operands do not spread as numpy's do: before opset 7 there were other ways."""
    for name in site.node.input:
        given = site.network.tensors[name].dims if name in site.network.tensors else site.weights[name].shape
        if any(one not in (1, other) for one, other in zip(given[::-1], site.made.dims[::-1], strict=False)):
            raise ModelError(
                f"{site.stage.label} spreads {quoted(name)}, {list(given)}, over {list(site.made.dims)} in a way of "
                "older operators: convert the model to a newer opset"
            )


def _places(made: Tensor, shape: Sequence[int]) -> tuple[int, list[np.ndarray] | None]:
    """The operand's axis that the output's rows lie in, and for each row the places along it; None where an operand of
    that shape is the same for all rows."""
    axis: Axis | None = made.rows
    at = axis.axis - len(made.dims) + len(shape) if axis is not None else -1
    if axis is None or axis.size == 1 or at < 0 or shape[at] == 1:
        return at, None
    return at, cut(np.arange(shape[at]), Axis(0, axis.size, axis.outer, axis.inner))
