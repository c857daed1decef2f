"""numpy's arrays as torch's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tse_onnx.errors import ModelError

_TYPES: dict[str, torch.dtype] = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip


def torch_type(dtype: np.dtype[Any]) -> torch.dtype:
    """torch's type for numpy's. Raises `ModelError` where there is none."""
    found = _TYPES.get(dtype.name)
    if found is None:
        raise ModelError(f"torch has no numbers of type {dtype.name}")
    return found


def tensor_of(array: np.ndarray) -> Tensor:
    """A tensor of its own with an array's numbers."""
    kind = torch_type(array.dtype)
    if kind is torch.bfloat16:  # which numpy knows by a type that torch does not take
        return torch.tensor(array.astype(np.float32)).to(kind)
    return torch.tensor(np.ascontiguousarray(array)).reshape(array.shape)
