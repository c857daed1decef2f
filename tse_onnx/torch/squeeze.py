"""The means of a map's tiles in torch, and gates spread over the map again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tse_onnx.passes.blocks.tiling import Cover, Running, Tile

_HALF = frozenset({torch.float16, torch.bfloat16})


def means(x: Tensor, cover: Cover) -> Tensor:
    """A descriptor for each tile of `x` [N, C, H, W]: [N, C, ⌈H/h⌉, ⌈W/w⌉] for tiles, [N, C, count, 1] or
    [N, C, 1, count] for a running squeeze, [N, C, 1, 1] for a strip whose mean is for the whole map."""
    if isinstance(cover, Tile):
        # What lies beyond the map in a tile that is cut short is not counted.
        return functional.avg_pool2d(x, cover.sizes, cover.sizes, ceil_mode=True, count_include_pad=False)
    axis = 2 + cover.axis
    if not isinstance(cover, Running):
        return x.narrow(axis, cover.start, cover.rows).mean((2, 3), keepdim=True)
    # In half precision the sum of a map's rows would lose what a single row adds.
    rows = x.mean(5 - axis, keepdim=True, dtype=torch.float32 if x.dtype in _HALF else x.dtype)
    last = torch.tensor([seen - 1 for seen in cover.seen], device=x.device)
    found = rows.cumsum(axis).index_select(axis, last) / _along(axis, rows, cover.seen)
    if cover.calibration is not None:
        offsets = rows.new_tensor(cover.calibration.offsets).T.reshape(1, cover.calibration.channels, *cover.grid)
        found = found * _along(axis, rows, cover.calibration.slopes) + offsets
    return found.to(x.dtype)


def spread(gates: Tensor, cover: Cover) -> Tensor:
    """The gate of each row or pixel of the map from those of its tiles; one that serves a whole axis stays one."""
    if isinstance(cover, Tile):
        for axis, (many, size, extent) in enumerate(zip(cover.grid, cover.sizes, cover.extents, strict=True), 2):
            if many > 1:
                gates = gates.repeat_interleave(size, axis).narrow(axis, 0, extent)
        return gates
    if not isinstance(cover, Running) or cover.count == 1:
        return gates
    axis, before = 2 + cover.axis, cover.count - 1
    first = gates.narrow(axis, 0, before).repeat_interleave(cover.step, axis)
    left = cover.extents[cover.axis] - before * cover.step
    return torch.cat([first, gates.narrow(axis, before, 1).repeat_interleave(left, axis)], axis)


def _along(axis: int, like: Tensor, numbers: tuple[float, ...]) -> Tensor:
    """Numbers along one of four axes."""
    return like.new_tensor(numbers).reshape([len(numbers) if other == axis else 1 for other in range(4)])
