"""Operators that make each number of one number, or of those at the same place."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from tse_onnx.distillation.operators.call import Call, Operator, Table


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda call: function(call.first)


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call: function(call.tensor(0), call.tensor(1))


def _of_many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call: reduce(function, [call.tensor(place) for place in range(len(call.inputs))])


def _clip(call: Call) -> Tensor:
    if call.opset < 11:
        return torch.clamp(call.first, call.get("min"), call.get("max"))
    low, high = (call.tensor(place) if call.has(place) else None for place in (1, 2))
    return call.first if low is None and high is None else torch.clamp(call.first, low, high)


def _hard_sigmoid(call: Call) -> Tensor:
    return torch.clamp(call.get("alpha", 0.2) * call.first + call.get("beta", 0.5), 0, 1)


def _hard_swish(call: Call) -> Tensor:
    return call.first * torch.clamp(call.first / 6 + 0.5, 0, 1)


def _div(call: Call) -> Tensor:
    one, other = call.tensor(0), call.tensor(1)
    return one / other if one.is_floating_point() else torch.div(one, other, rounding_mode="trunc")


def _prelu(call: Call) -> Tensor:
    return torch.where(call.first < 0, call.tensor(1) * call.first, call.first)


def _thresholded(call: Call) -> Tensor:
    return torch.where(call.first > call.get("alpha", 1.0), call.first, torch.zeros_like(call.first))


def _gelu(call: Call) -> Tensor:
    return functional.gelu(call.first, approximate=call.get("approximate", b"none").decode())


def _mean(call: Call) -> Tensor:
    return reduce(torch.add, [call.tensor(place) for place in range(len(call.inputs))]) / len(call.inputs)


ELEMENTWISE: Table = {
    "Abs": _of_one(torch.abs),
    "Add": _of_two(torch.add),
    "And": _of_two(torch.logical_and),
    "Celu": lambda call: functional.celu(call.first, call.get("alpha", 1.0)),
    "Clip": _clip,
    "Div": _div,
    "Elu": lambda call: functional.elu(call.first, call.get("alpha", 1.0)),
    "Equal": _of_two(torch.eq),
    "Erf": _of_one(torch.erf),
    "Exp": _of_one(torch.exp),
    "Gelu": _gelu,
    "Greater": _of_two(torch.gt),
    "GreaterOrEqual": _of_two(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": lambda call: functional.leaky_relu(call.first, call.get("alpha", 0.01)),
    "Less": _of_two(torch.lt),
    "LessOrEqual": _of_two(torch.le),
    "Log": _of_one(torch.log),
    "Max": _of_many(torch.maximum),
    "Mean": _mean,
    "Min": _of_many(torch.minimum),
    "Mish": _of_one(functional.mish),
    "Mul": _of_two(torch.mul),
    "Neg": _of_one(torch.neg),
    "Not": _of_one(torch.logical_not),
    "Or": _of_two(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _of_two(torch.pow),
    "Reciprocal": _of_one(torch.reciprocal),
    "Relu": _of_one(torch.relu),
    "Selu": lambda call: (
        call.get("gamma", 1.0507009873554805) * functional.elu(call.first, call.get("alpha", 1.6732632423543772))
    ),
    "Sigmoid": _of_one(torch.sigmoid),
    "Sign": _of_one(torch.sign),
    "Softplus": _of_one(functional.softplus),
    "Softsign": _of_one(functional.softsign),
    "Sqrt": _of_one(torch.sqrt),
    "Sub": _of_two(torch.sub),
    "Sum": _of_many(torch.add),
    "Swish": lambda call: call.first * torch.sigmoid(call.get("alpha", 1.0) * call.first),
    "Tanh": _of_one(torch.tanh),
    "ThresholdedRelu": _thresholded,
    "Where": lambda call: torch.where(call.tensor(0), call.tensor(1), call.tensor(2)),
}
