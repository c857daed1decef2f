"""What a user says about the data to measure on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tse_onnx.data.given import DataLike, PathLike, given
from tse_onnx.data.presets import Preprocessing, preprocess_of
from tse_onnx.data.samples import Samples, samples_of
from tse_onnx.errors import UsageError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.settings import setting


@dataclass(frozen=True)
class Data:
    """Data to measure on: an .npz, an .npy, a folder of images, prepared as `preprocess` says, or arrays: one, one for
    each input by name (`labels` may be among them), or feeds of such.

    `labels` is a file with the class of each sample, to which `label_offset` is added. `limit` takes so many samples,
    drawn by `seed`; `batch` is how many go into one run, where the model does not fix that. With `skip_unreadable`
    images that cannot be read are left out. With `frames` it is a folder of numbered frames for each stream, which
    are all taken, in order and one by one. docs/data.md says more. Raises `UsageError` for what makes no sense.
    """

    path: DataLike
    preprocess: Preprocessing = "unit"
    labels: PathLike | None = None
    label_offset: int = 0
    limit: int | None = None
    seed: int = 0
    batch: int | None = None
    skip_unreadable: bool = False
    frames: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", given(self.path))
        for name in ("limit", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"a {name} is one sample or more, not {value}")
        if self.seed < 0:
            raise UsageError(f"a seed is zero or more, not {self.seed}")
        strange = [name for name in ("labels", "limit", "batch", "skip_unreadable") if getattr(self, name)]
        if self.frames and strange:
            raise UsageError(f"frames are all taken, in order and one by one: they go without {setting(strange[0])}")

    def samples(self, types: Mapping[str, TensorType]) -> Samples:
        """The samples for a model whose inputs have these types. Raises `DataError`, `UsageError`."""
        found = given(self.path)
        if self.frames:
            if not isinstance(found, (str, os.PathLike)):
                raise UsageError("frames are in a folder for each stream, not in arrays")
            from tse_onnx.data.frames import frames_of

            return frames_of(types, Path(found), preprocess_of(self.preprocess))
        samples = samples_of(
            types,
            found,
            preprocess_of(self.preprocess),
            None if self.labels is None else Path(self.labels),
            skip_unreadable=self.skip_unreadable,
            label_offset=self.label_offset,
        )
        if self.limit is not None:
            samples = samples.drawn(self.limit, self.seed)
        return samples if self.batch is None else samples.by(self.batch)

    @property
    def images(self) -> bool:
        """Whether it is a folder, whose images are prepared."""
        return isinstance(self.path, (str, os.PathLike)) and os.path.isdir(self.path)
