"""Parameters and MACs of convolutions and products by onnx-tool, which counts a bias as our convention squeezenext
does."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import models
from tse_onnx.costs.layer import Layer
from tse_onnx.costs.profile import profile

_OPERATORS = ("Conv", "Gemm")


@dataclass(frozen=True)
class Counted:
    """What both count of a network: parameters as the model has them, MACs with those of biases."""

    name: str
    parameters: int
    other_parameters: int
    macs: int
    other_macs: int

    @property
    def equal(self) -> bool:
        """Whether they agree."""
        return (self.parameters, self.macs) == (self.other_parameters, self.other_macs)


def counted(name: str, folder: Path) -> Counted:
    """A bundled network, counted twice. Biases that a model does not have are not counted here."""
    path = folder / f"{name}.onnx"
    models.save(name, path)
    found = [layer for layer in profile(path).layers if layer.operator in _OPERATORS]
    biases = _bias_macs(onnx.load(path), found)
    parameters, macs = _by_onnx_tool(path)
    return Counted(
        name,
        sum(layer.parameters for layer in found),
        parameters,
        sum(layer.macs or 0 for layer in found) + biases,
        macs,
    )


def _bias_macs(model: onnx.ModelProto, layers: list[Layer]) -> int:
    biased = {node.name or node.output[0] for node in model.graph.node if len(node.input) > 2 and node.input[2]}
    return sum(int(np.prod(layer.output)) for layer in layers for name in layer.nodes if name in biased)


def _by_onnx_tool(path: Path) -> tuple[int, int]:
    import onnx_tool

    with contextlib.redirect_stdout(io.StringIO()):
        model = onnx_tool.Model(str(path))
        given = onnx.load(path).graph.input[0]
        shape = [dim.dim_value or 1 for dim in given.type.tensor_type.shape.dim]
        model.graph.shape_infer({given.name: np.zeros(shape, np.float32)})
        model.graph.profile()
    totals: Counter[str] = Counter()
    for node in model.graph.nodemap.values():
        if node.op_type in _OPERATORS:
            totals["parameters"] += int(node.params)
            totals["macs"] += int(node.macs[0] if isinstance(node.macs, list | tuple) else node.macs)
    return totals["parameters"], totals["macs"]
