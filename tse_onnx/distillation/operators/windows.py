"""Operators that slide a window over a map: convolutions and pools, with ONNX's paddings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tse_onnx.distillation.operators.call import Call, Table

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_BACK = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_LARGEST = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


class _Window:
    """Kernel, strides, dilations and the rows added at both ends of each spatial axis, as a node states them."""

    def __init__(self, call: Call, kernel: Sequence[int]) -> None:
        sizes, rank = call.first.shape[2:], call.first.ndim - 2
        if rank not in _CONV:
            raise call.unknown(f"{rank} spatial axes")
        self.kernel = list(kernel)
        self.strides = list(call.get("strides") or [1] * rank)
        self.dilations = list(call.get("dilations") or [1] * rank)
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True)]
        stated = list(call.get("pads") or [0] * 2 * rank)
        before, after = stated[:rank], stated[rank:]
        auto = call.get("auto_pad", b"NOTSET").decode()
        if auto.startswith("SAME"):
            spare = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(sizes, self.strides, reach, strict=True)]
            less, more = [n // 2 for n in spare], [n - n // 2 for n in spare]
            before, after = (less, more) if auto == "SAME_UPPER" else (more, less)
        elif auto == "VALID":
            before = after = [0] * rank
        self.before, self.after = before, after
        self.extra = [0] * rank
        """Rows beyond the padding that the last window reaches to in ceil_mode."""
        if call.get("ceil_mode", 0):
            for axis, (n, s, k) in enumerate(zip(sizes, self.strides, reach, strict=True)):
                whole = n + before[axis] + after[axis]
                count = math.ceil((whole - k) / s) + 1
                if (count - 1) * s >= n + before[axis]:  # a window that begins in the padding is none
                    count -= 1
                self.extra[axis] = max((count - 1) * s + k - whole, 0)

    def padded(self, value: Tensor, number: float, extra: bool = False) -> Tensor:
        """A map with `number` around it."""
        after = [n + more * extra for n, more in zip(self.after, self.extra, strict=True)]
        pads = [n for pair in zip(reversed(self.before), reversed(after), strict=True) for n in pair]
        return functional.pad(value, pads, value=number) if any(pads) else value


def _conv(call: Call) -> Tensor:
    weights = call.tensor(1)
    window = _Window(call, weights.shape[2:])
    bias = call.tensor(2) if call.has(2) else None
    value, padding = call.first, window.before
    if window.before != window.after:
        value, padding = window.padded(value, 0.0), [0] * len(window.before)
    by = _CONV[len(window.kernel)]
    return by(value, weights, bias, window.strides, padding, window.dilations, call.get("group", 1))


def _conv_transpose(call: Call) -> Tensor:
    weights = call.tensor(1)
    window = _Window(call, weights.shape[2:])
    if call.get("auto_pad", b"NOTSET") != b"NOTSET" or call.get("output_shape") or window.before != window.after:
        raise call.unknown("a padding that is not the same at both ends")
    bias = call.tensor(2) if call.has(2) else None
    more = list(call.get("output_padding") or [0] * len(window.kernel))
    by, group = _CONV_BACK[len(window.kernel)], call.get("group", 1)
    return by(call.first, weights, bias, window.strides, window.before, more, group, window.dilations)


def _average_pool(call: Call) -> Tensor:
    window = _Window(call, call.get("kernel_shape"))
    if set(window.dilations) != {1}:
        raise call.unknown("dilations")
    by, kernel, strides = _AVERAGE[len(window.kernel)], window.kernel, window.strides
    means = by(window.padded(call.first, 0.0, extra=True), kernel, strides)
    if not any((*window.before, *window.after, *window.extra)):
        return means
    # Padding counts only where the node says so; what ceil_mode adds beyond it never does.
    ones = torch.ones_like(call.first[:1, :1])
    inside = window.padded(ones, 1.0 if call.get("count_include_pad", 0) else 0.0)
    tail = [n for more in reversed(window.extra) for n in (0, more)]
    return means / by(functional.pad(inside, tail), kernel, strides)


def _max_pool(call: Call) -> Tensor:
    window = _Window(call, call.get("kernel_shape"))
    value = window.padded(call.first, -math.inf, extra=True)
    by = _LARGEST[len(window.kernel)]
    return by(value, window.kernel, window.strides, 0, window.dilations)


WINDOWS: Table = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
}
