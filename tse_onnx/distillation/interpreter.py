"""A model run by torch, so that gradients reach any of its constants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor

from tse_onnx.distillation.operators.call import Call, Table
from tse_onnx.distillation.operators.elementwise import ELEMENTWISE
from tse_onnx.distillation.operators.layout import LAYOUT
from tse_onnx.distillation.operators.linear import LINEAR
from tse_onnx.distillation.operators.tensors import tensor_of
from tse_onnx.distillation.operators.windows import WINDOWS
from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.operators import operator, opset_of
from tse_onnx.passes.graph.order import in_order
from tse_onnx.passes.reasons import first_line, quoted

OPERATORS: Table = {**ELEMENTWISE, **LAYOUT, **LINEAR, **WINDOWS}


_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class _Step:
    """A node, ready to be run, and the values that nobody reads after it."""

    node: NodeProto
    attributes: Mapping[str, object]
    done_with: tuple[str, ...]


class Interpreter:
    """A model whose weights are loaded, as a function of its inputs in torch.

    `wanted` are values to be had beside the outputs; constants lie on the `device`. Raises `ModelError` for a model
    with operators that are not known, all of which it names, and later where torch does not take one.
    """

    def __init__(
        self,
        model: ModelProto,
        wanted: Collection[str] = (),
        title: str = "the model",
        device: torch.device = _PROCESSOR,
    ) -> None:
        graph = model.graph
        need_known(model, title)
        self._title, self._opset = title, opset_of(model.opset_import)
        self.outputs = tuple(value.name for value in graph.output)
        self._wanted = tuple(dict.fromkeys((*self.outputs, *wanted)))
        self._constants = {tensor.name: tensor_of(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
        nodes = [graph.node[place] for place in in_order(graph.node)[0]]
        nodes = list(self._folded(nodes))
        self._constants = {name: one.to(device) for name, one in self._constants.items()}
        self._steps = tuple(_steps(nodes, {*self._wanted, *self._constants}))

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """The model's initializers, and the values of its Constant nodes, by name."""
        return self._constants

    def _folded(self, nodes: Iterable[NodeProto]) -> Iterable[NodeProto]:
        """The nodes without those that are constants."""
        for node in nodes:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._run(node, _attributes(node), {})[0]
            else:
                yield node

    def __call__(
        self,
        feed: Mapping[str, Tensor],
        instead: Mapping[str, Tensor] | None = None,
        then: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """The outputs, and what else is wanted, of one batch.

        `instead` has other numbers for some constants, `then` what becomes of some values once they are made.
        """
        values: dict[str, Tensor] = {**self._constants, **feed, **(instead or {})}
        for step in self._steps:
            made = self._run(step.node, step.attributes, values)
            for name, one in zip(step.node.output, made, strict=False):
                if name:
                    values[name] = then[name](one) if then and name in then else one
            for name in step.done_with:
                del values[name]
        return {name: values[name] for name in self._wanted}

    def _run(self, node: NodeProto, attributes: Mapping[str, object], values: Mapping[str, Tensor]) -> list[Tensor]:
        inputs = [values[name] if name else None for name in node.input]
        if node.op_type == "Split" and "num_outputs" not in attributes:
            attributes = {**attributes, "num_outputs": len(node.output)}
        try:
            made = OPERATORS[node.op_type](Call(node.op_type, inputs, attributes, self._opset))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # whatever torch has to say of the inputs
            raise ModelError(
                f"torch cannot run {node.op_type} {quoted(node.name or node.output[0])} of {self._title}: "
                f"{first_line(error)}"
            ) from error
        return [made] if isinstance(made, Tensor) else list(made)


def need_known(model: ModelProto, title: str) -> None:
    """Raise `ModelError` for operators that torch is told nothing of."""
    strange = sorted({
        operator(node)
        for node in model.graph.node
        if operator(node) not in OPERATORS or _makes_more(node)
    })  # fmt: skip
    if strange:
        raise ModelError(
            f"{title} cannot be trained: there is no gradient for {', '.join(map(quoted, strange))}; "
            "tse-onnx tune chooses without one"
        )


def _makes_more(node: NodeProto) -> bool:
    """Whether somebody may read more of a node than is made here: a mask, indices, statistics."""
    return node.op_type != "Split" and len([name for name in node.output if name]) > 1


def _attributes(node: NodeProto) -> dict[str, object]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _steps(nodes: Iterable[NodeProto], kept: Collection[str]) -> Iterable[_Step]:
    """The nodes, each with what can be let go after it."""
    nodes = list(nodes)
    last: dict[str, int] = {}
    for place, node in enumerate(nodes):
        last.update((name, place) for name in (*node.input, *node.output) if name and name not in kept)
    done: dict[int, list[str]] = {}
    for name, place in last.items():
        done.setdefault(place, []).append(name)
    for place, node in enumerate(nodes):
        yield _Step(node, _attributes(node), tuple(done.get(place, ())))
