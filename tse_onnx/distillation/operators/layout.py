"""Operators that move numbers, or say where they lie."""

from __future__ import annotations

import math

import numpy as np
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from tse_onnx.distillation.operators.call import Call, Result, Table
from tse_onnx.distillation.operators.tensors import tensor_of, torch_type


def _constant(call: Call) -> Tensor:
    for name, stated in call.attributes.items():
        if name == "value":
            return tensor_of(numpy_helper.to_array(stated))
        if name in ("value_float", "value_floats"):
            return torch.tensor(stated, dtype=torch.float32)
        if name in ("value_int", "value_ints"):
            return torch.tensor(stated, dtype=torch.int64)
    raise call.unknown(next(iter(call.attributes), "no value"))


def _constant_of_shape(call: Call) -> Tensor:
    stated = call.get("value")
    value = torch.zeros(1) if stated is None else tensor_of(numpy_helper.to_array(stated))
    return value.reshape(()).expand(call.first.tolist()).clone()


def _cast(call: Call) -> Tensor:
    return call.first.to(torch_type(helper.tensor_dtype_to_np_dtype(call.get("to"))))


def _reshape(call: Call) -> Tensor:
    wanted = call.integers(1, "shape") or []
    if not call.get("allowzero", 0):
        wanted = [call.first.shape[place] if size == 0 else size for place, size in enumerate(wanted)]
    return call.first.reshape(wanted)


def _flatten(call: Call) -> Tensor:
    axis = call.get("axis", 1)
    axis += call.first.ndim if axis < 0 else 0
    return call.first.reshape(math.prod(call.first.shape[:axis]), -1)


def _transpose(call: Call) -> Tensor:
    return call.first.permute(call.get("perm") or list(reversed(range(call.first.ndim))))


def _squeeze(call: Call) -> Tensor:
    axes = call.integers(1, "axes")
    return call.first.squeeze() if axes is None else call.first.squeeze(tuple(axes))


def _unsqueeze(call: Call) -> Tensor:
    axes = call.integers(1, "axes") or []
    value, rank = call.first, call.first.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        value = value.unsqueeze(axis)
    return value


def _concat(call: Call) -> Tensor:
    return torch.cat([call.tensor(place) for place in range(len(call.inputs))], call.get("axis"))


def _split(call: Call) -> Result:
    axis, sizes = call.get("axis", 0), call.integers(1, "split")
    if sizes is not None:
        return torch.split(call.first, sizes, axis)
    many = call.get("num_outputs")
    if many is None:
        raise call.unknown("neither sizes nor their number")
    return torch.split(call.first, -(-call.first.shape[axis] // many), axis)


def _slice(call: Call) -> Tensor:
    if call.opset < 10:
        starts, ends, axes, steps = call.get("starts"), call.get("ends"), call.get("axes"), None
    else:
        starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
        axes, steps = call.integers(3, "axes"), call.integers(4, "steps")
    value = call.first
    for number, axis in enumerate(axes if axes is not None else range(len(starts))):
        spans = slice(starts[number], ends[number], None if steps is None else steps[number])
        axis %= value.ndim
        size = value.shape[axis]
        chosen = range(size)[_within(spans, size)]
        if chosen == range(size):
            continue
        if chosen.step == 1:
            value = value.narrow(axis, chosen.start, len(chosen))
        else:
            value = value.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return value


def _within(span: slice, size: int) -> slice:
    """A slice as Python has it: from the end backwards, ONNX says a number below −size for "through the first"."""
    backwards = (span.step or 1) < 0
    return slice(span.start, None if backwards and span.stop < -size else span.stop, span.step)


def _gather(call: Call) -> Tensor:
    value, numbers = call.tensor(0), call.tensor(1)
    axis = call.get("axis", 0) % value.ndim
    flat = numbers.reshape(-1).long() % value.shape[axis]
    shape = (*value.shape[:axis], *numbers.shape, *value.shape[axis + 1 :])
    return value.index_select(axis, flat).reshape(shape)


def _dropout(call: Call) -> Tensor:
    if (call.has(2) and bool(call.tensor(2))) or (call.opset < 7 and not call.get("is_test", 0)):
        raise call.unknown("training_mode")
    return call.first


def _expand(call: Call) -> Tensor:
    wanted = call.tensor(1).tolist()
    return call.first.expand(torch.broadcast_shapes(call.first.shape, wanted))


def _shape(call: Call) -> Tensor:
    sizes = list(call.first.shape)
    return torch.tensor(sizes[call.get("start", 0) : call.get("end")], dtype=torch.int64)


def _range(call: Call) -> Tensor:
    start, stop, step = (call.tensor(place) for place in range(3))
    return torch.arange(start.item(), stop.item(), step.item(), dtype=start.dtype)


def _pad(call: Call) -> Tensor:
    pads, axes = call.integers(1, "pads") or [], call.integers(3, "axes")
    rank, mode = call.first.ndim, call.get("mode", b"constant").decode()
    ends = dict.fromkeys(range(rank), (0, 0))
    for number, axis in enumerate(axes if axes is not None else range(rank)):
        ends[axis % rank] = pads[number], pads[number + len(pads) // 2]
    flat = [n for axis in reversed(range(rank)) for n in ends[axis]]
    if mode == "constant":
        fill = float(call.tensor(2)) if call.has(2) else call.get("value", 0.0)
        return functional.pad(call.first, flat, value=fill)
    if mode not in ("reflect", "edge") or any(flat[2 * (rank - 2) :]):
        raise call.unknown(f"mode {mode}")
    return functional.pad(call.first, flat[: 2 * (rank - 2)], mode="reflect" if mode == "reflect" else "replicate")


def _depth_to_space(call: Call) -> Tensor:
    n, c, h, w = call.first.shape
    b = call.get("blocksize")
    if call.get("mode", b"DCR") == b"CRD":
        return functional.pixel_shuffle(call.first, b)
    return call.first.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(call: Call) -> Tensor:
    if call.get("mode", b"DCR") != b"DCR":
        raise call.unknown("mode CRD")
    n, c, h, w = call.first.shape
    b = call.get("blocksize")
    return call.first.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


def _resize(call: Call) -> Tensor:
    """Nearest neighbours, which is how gates are spread, by the numbers of those that are picked."""
    mode, how = (
        call.get("mode", b"nearest").decode(),
        call.get("coordinate_transformation_mode", b"half_pixel").decode(),
    )
    if call.operator == "Upsample" or call.opset < 11:
        how = "asymmetric"
    value, sizes, scales = call.first, call.integers(3, "sizes"), _scales(call)
    if mode != "nearest" or call.get("antialias", 0) or call.get("axes") or call.get("keep_aspect_ratio_policy"):
        raise call.unknown(f"mode {mode}" if mode != "nearest" else "axes, antialias or a policy")
    if sizes is None:
        sizes = [int(size * scale) for size, scale in zip(value.shape, scales, strict=True)]
    else:
        scales = [new / old for new, old in zip(sizes, value.shape, strict=True)]
    rounding = call.get("nearest_mode", b"round_prefer_floor" if call.opset >= 11 else b"floor").decode()
    for axis, (new, scale) in enumerate(zip(sizes, scales, strict=True)):
        old = value.shape[axis]
        if new != old:
            picked = _nearest(call, np.arange(new), old, new, scale, how, rounding)
            value = value.index_select(axis, torch.from_numpy(np.clip(picked, 0, old - 1)).to(value.device))
    return value


def _scales(call: Call) -> list[float]:
    place = 1 if call.operator == "Upsample" or call.opset < 11 else 2
    stated = call.tensor(place).tolist() if call.has(place) else call.get("scales")
    return list(stated or [])


def _nearest(call: Call, places: np.ndarray, old: int, new: int, scale: float, how: str, rounding: str) -> np.ndarray:
    if how == "asymmetric":
        found = places / scale
    elif how in ("half_pixel", "pytorch_half_pixel"):
        found = (places + 0.5) / scale - 0.5 if how == "half_pixel" or new > 1 else places * 0.0
    elif how == "align_corners":
        found = places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        raise call.unknown(how)
    by = {
        "floor": np.floor(found),
        "ceil": np.ceil(found),
        "round_prefer_floor": np.ceil(found - 0.5),
        "round_prefer_ceil": np.floor(found + 0.5),
    }
    return by[rounding].astype(np.int64)


LAYOUT: Table = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda call: call.first,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Size": lambda call: torch.tensor(call.first.numel(), dtype=torch.int64),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": lambda call: call.first.repeat(call.tensor(1).tolist()),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
