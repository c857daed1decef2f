"""The type of the numbers that an input takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tse_onnx.errors import DataError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting


def element_type(name: str, kind: TensorType) -> np.dtype[Any]:
    """numpy's type for the elements of the input called `name`. Raises `DataError` where there is none."""
    if kind.dtype == TensorProto.STRING:
        raise DataError(
            f"input {quoted(name)} takes strings, of which there is no noise and no image: give them with "
            f"{setting('data')}, "
            "an .npy or .npz of text"
        )
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.dtype))
    except (KeyError, ValueError):
        raise DataError(f"input {quoted(name)} has a type that onnx does not know") from None
