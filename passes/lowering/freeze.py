"""Lower a block with a frozen gate: the constants in place of squeeze and excite, or within a convolution's weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.fold_gate import Fold, fold_of
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.edit.prune import prune
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.lowering.spread import quantised_again, rescaled
from tse_onnx.passes.lowering.style import Style, lowering

_NUMPY = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


@lowering.register
def freeze(frozen: Frozen, block: Convertible, scope: Scope, taken: set[str], style: Style) -> Edit:
    """The edit that makes the gate of `block` constant. Without folding the scale stays, whatever stands next to it."""
    anatomy, draft = block.anatomy, Draft(block.name, block.anatomy, scope, taken)
    for position in (*anatomy.squeeze_nodes, *(step.position for step in anatomy.steps)):
        draft.drop(position)
    fold = fold_of(block, scope.index) if style.folding else None
    if fold is not None and {fold.position, block.scale.position} & style.shared:
        fold = None
    bearer = _multiplied(draft, block, frozen) if fold is None else _folded(draft, block, frozen, fold)
    edit = prune(draft.edit(), scope.index)
    # Weights in files of their own stay, unread: the files are carried as they are.
    outside = {name for name in edit.dropped_weights if _external(scope.index.initializers[name])}
    types = {name: kind for name, kind in edit.types.items() if name not in outside}
    return replace(edit, types=types, dropped_weights=edit.dropped_weights - outside, bearer=bearer)


def _external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def _multiplied(draft: Draft, block: Convertible, frozen: Frozen) -> str:
    """The scale with constants in place of its gate, or each product of a branch; the name of the constants."""
    products = draft.anatomy.products
    if not products:
        return _scaled(draft, block, frozen.gate, block.scale.position)
    many, made = len(frozen.gate) // len(products) or 1, list[str]()
    for number, product in enumerate(products):
        draft.scale_product(product)
        own = frozen.gate if len(frozen.gate) == 1 else frozen.gate[number * many : (number + 1) * many]
        made.append(_scaled(draft, block, own, product.position))
    return made[0]


def _scaled(draft: Draft, block: Convertible, numbers: tuple[float, ...], position: int) -> str:
    anatomy = draft.anatomy
    dims = anatomy.gate_dims(len(numbers))
    dtype = draft.types[anatomy.map].dtype or block.dtype
    kind = onnx.helper.tensor_dtype_to_np_dtype(dtype) if dtype in _NUMPY else np.dtype(np.float32)
    gate = constants = draft.constant("frozen_gate", np.array(numbers, kind).reshape(dims))
    if dtype not in _NUMPY:
        gate = draft.value("Cast", "frozen_gate_narrow", [gate], to=dtype)
    rescaled(draft, quantised_again(draft, gate), position)
    return constants


def _folded(draft: Draft, block: Convertible, frozen: Frozen, fold: Fold) -> str:
    """The convolution with the gate in its weights, and no scale; the name of what it makes."""
    convolution = NodeProto()
    convolution.CopyFrom(draft.index.nodes[fold.position])
    gate = np.array(frozen.gate, np.float64)
    weight = draft.index.initializers[convolution.input[1]]
    convolution.input[0], convolution.output[0] = fold.source, fold.target
    draft.drop(block.scale.position)
    if fold.behind:
        convolution.input[1] = draft.weight("folded_weight", _by_input(weight, gate))
    else:
        draft.drop(fold.position)
        convolution.input[1] = draft.weight("folded_weight", _by_output(weight, gate))
        if len(convolution.input) > 2 and convolution.input[2]:
            bias = draft.index.initializers[convolution.input[2]]
            convolution.input[2] = draft.weight("folded_bias", _by_output(bias, gate))
        draft.keep_type(fold.target)
    draft.add(convolution)
    draft.put(fold.position)
    return fold.target


def _by_input(weight: TensorProto, gate: np.ndarray) -> np.ndarray:
    """Weights [outputs, inputs of a group, …], each times the gate of the channel that it reads."""
    values = numpy_helper.to_array(weight)
    outputs, inputs = values.shape[:2]
    if len(gate) == 1:
        factors = np.broadcast_to(gate, (outputs, inputs))
    else:
        groups = len(gate) // inputs
        factors = np.repeat(gate.reshape(groups, inputs), outputs // groups, axis=0)
    return _product(values, factors.reshape(outputs, inputs, *(1,) * (values.ndim - 2)))


def _by_output(weight: TensorProto, gate: np.ndarray) -> np.ndarray:
    """Weights or biases [outputs, …], each times the gate of the channel that it makes."""
    values = numpy_helper.to_array(weight)
    return _product(values, gate.reshape(-1, *(1,) * (values.ndim - 1)))


def _product(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((values.astype(np.float64) * factors).astype(values.dtype))
