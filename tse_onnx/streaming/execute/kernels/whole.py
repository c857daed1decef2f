"""The node as a whole: what is left where its rows cannot be made one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tse_onnx.streaming.execute.kernels.cutting import cut, joined
from tse_onnx.streaming.execute.kernels.kernel import Kernel, Rows, Rule, Site


class Whole:
    """The node runs once, on whole tensors, when all their rows are there."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._inputs = site.inputs
        self._run = site.single()
        self._rows: list[np.ndarray] | None = None

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        return {name: range(tensor.row_count) for name, tensor in self._inputs.items()}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        if row == 0 or self._rows is None:
            feed = {name: joined([rows[name][number] for number in range(tensor.row_count)], tensor.rows)
                    for name, tensor in self._inputs.items()}  # fmt: skip
            self._rows = cut(self._run(feed), self._site.made.rows)
        return self._rows[row]


def told_before(rule: Rule) -> Rule:
    """A rule for nodes whose indices, sizes or weights are known before anything streams; a node that is told one while
    the model runs is run as a whole."""

    def kernel(site: Site) -> Kernel:
        told = any(name in site.network.tensors for name in site.node.input[1:])
        return Whole(site) if told else rule(site)

    return kernel
