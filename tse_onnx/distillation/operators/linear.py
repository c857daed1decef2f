"""Products with matrices, normalisations, and what is taken over whole axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tse_onnx.distillation.operators.call import Call, Operator, Table


def _gemm(call: Call) -> Tensor:
    one, other = call.tensor(0), call.tensor(1)
    one = one.T if call.get("transA", 0) else one
    other = other.T if call.get("transB", 0) else other
    product = call.get("alpha", 1.0) * (one @ other)
    return product + call.get("beta", 1.0) * call.tensor(2) if call.has(2) else product


def _batch_normalization(call: Call) -> Tensor:
    if call.get("training_mode", 0):
        raise call.unknown("training_mode")
    value, scale, bias, mean, variance = (call.tensor(place) for place in range(5))
    return functional.batch_norm(value, mean, variance, scale, bias, eps=call.get("epsilon", 1e-5))


def _instance_normalization(call: Call) -> Tensor:
    return functional.instance_norm(
        call.first, weight=call.tensor(1), bias=call.tensor(2), eps=call.get("epsilon", 1e-5)
    )


def _layer_normalization(call: Call) -> Tensor:
    axis = call.get("axis", -1) % call.first.ndim
    bias = call.tensor(2) if call.has(2) else None
    return functional.layer_norm(call.first, call.first.shape[axis:], call.tensor(1), bias, call.get("epsilon", 1e-5))


def _lrn(call: Call) -> Tensor:
    return functional.local_response_norm(
        call.first, call.get("size"), call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    )


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def run(call: Call) -> Tensor:
        if call.opset >= 13:
            return function(call.first, dim=call.get("axis", -1))
        axis = call.get("axis", 1) % call.first.ndim  # up to opset 12 over all axes from there on
        return function(call.first.flatten(axis), dim=axis).reshape(call.first.shape)

    return run


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def run(call: Call) -> Tensor:
        axes, keep = call.integers(1, "axes"), bool(call.get("keepdims", 1))
        if not axes:
            if call.get("noop_with_empty_axes", 0):
                return call.first
            axes = list(range(call.first.ndim))
        return function(call.first, axes, keep)

    return run


def _pooled(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    return lambda call: function(call.first, list(range(2, call.first.ndim)), True)


def _product(value: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % value.ndim for axis in axes), reverse=True):
        value = torch.prod(value, axis, keep)
    return value


def _cumsum(call: Call) -> Tensor:
    if call.get("exclusive", 0) or call.get("reverse", 0):
        raise call.unknown("exclusive or reverse sums")
    return torch.cumsum(call.first, int(call.tensor(1)))


def _argument(function: Callable[..., Any]) -> Operator:
    def run(call: Call) -> Tensor:
        if call.get("select_last_index", 0):
            raise call.unknown("select_last_index")
        found: Tensor = function(call.first, call.get("axis", 0), bool(call.get("keepdims", 1)))
        return found

    return run


_mean: Callable[[Tensor, list[int], bool], Tensor] = torch.mean

LINEAR: Table = {
    "ArgMax": _argument(torch.argmax),
    "ArgMin": _argument(torch.argmin),
    "BatchNormalization": _batch_normalization,
    "CumSum": _cumsum,
    "Gemm": _gemm,
    "GlobalAveragePool": _pooled(_mean),
    "GlobalMaxPool": _pooled(torch.amax),
    "InstanceNormalization": _instance_normalization,
    "LRN": _lrn,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": lambda call: torch.matmul(call.tensor(0), call.tensor(1)),
    "ReduceL1": _reduced(lambda value, axes, keep: value.abs().sum(axes, keep)),
    "ReduceL2": _reduced(lambda value, axes, keep: value.square().sum(axes, keep).sqrt()),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(_mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceProd": _reduced(_product),
    "ReduceSum": _reduced(torch.sum),
    "ReduceSumSquare": _reduced(lambda value, axes, keep: value.square().sum(axes, keep)),
    "Softmax": _softmax(torch.softmax),
}
