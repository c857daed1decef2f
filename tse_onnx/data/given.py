"""What a caller gives as data: the path of a file or a folder, or the arrays themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Union

import numpy as np

from tse_onnx.data.feed import Feed
from tse_onnx.errors import DataError
from tse_onnx.passes.reasons import first_line

PathLike = Union[str, "os.PathLike[str]"]
DataLike = Union[PathLike, np.ndarray, Mapping[str, np.ndarray], Iterable[Feed]]
"""A path; an array for the only input, or one for each input by name; or feeds, each with some samples."""
Given = Union[PathLike, np.ndarray, dict[str, np.ndarray]]


def given(data: DataLike) -> Given:
    """The same with feeds put together, so that it can be read more than once. Raises `DataError` for anything else."""
    if isinstance(data, (str, os.PathLike, np.ndarray)):
        return data
    feeds = [data] if isinstance(data, Mapping) else list(data) if isinstance(data, Iterable) else []
    if not feeds or not all(isinstance(feed, Mapping) and feed.keys() == feeds[0].keys() for feed in feeds):
        raise DataError("data are a path, an array, arrays by the names of inputs, or feeds, each with the same names")
    try:
        arrays = {name: [np.asarray(feed[name]) for feed in feeds] for name in feeds[0]}
        return {name: each[0] if len(each) == 1 else np.concatenate(each) for name, each in arrays.items()}
    except ValueError as error:
        raise DataError(f"the feeds do not go together: {first_line(error)}") from error
