"""Samples from a folder of images, or a folder of folders with one for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tse_onnx.data.element import element_type
from tse_onnx.data.feed import Feed
from tse_onnx.data.preprocess import Preprocess
from tse_onnx.errors import DataError
from tse_onnx.installation.extras import need
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import first_line, quoted
from tse_onnx.passes.settings import setting

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})


def image_files(folder: Path) -> tuple[str, ...]:
    """The images in a folder, or where it has none in the folders inside it, sorted; relative, with slashes.

    Raises `DataError` where there are none.
    """
    try:
        entries = sorted(folder.iterdir())
        found = _images(entries)
        if not found:
            found = [file for inner in entries if inner.is_dir() for file in _images(sorted(inner.iterdir()))]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    if not found:
        raise DataError(f"{folder} holds no images")
    return tuple(path.relative_to(folder).as_posix() for path in found)


def images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images in a folder and the folders in it, sorted. Raises `DataError` where it cannot be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    return _images(entries), [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image, as its header says. Raises `DataError`."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # pillow's plug-ins raise whatever a broken file makes them stumble over
        raise _unreadable(path, error) from error


def _images(entries: Iterable[Path]) -> list[Path]:
    # Hidden files are the leavings of file managers, as macOS's ._photo.jpg.
    return [path for path in entries if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")]


@dataclass(frozen=True)
class Frame:
    """What an input takes of an image: its name, its size, how many colours, where they lie, and in which type."""

    name: str
    height: int
    width: int
    colours: int
    channels_last: bool
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Pictures:
    """Image files, and what becomes of each of them."""

    files: tuple[Path, ...]
    frame: Frame
    preprocess: Preprocess

    def feed(self, chosen: Sequence[int]) -> Feed:
        """The images with these numbers, prepared."""
        return {self.frame.name: np.ascontiguousarray(np.stack([self._pixels(self.files[one]) for one in chosen]))}

    def identity(self, chosen: Sequence[int]) -> Iterable[bytes]:
        """What is made of the files, and the bytes of each of them."""
        yield repr((self.frame, self.preprocess)).encode()
        for number in chosen:
            try:
                yield hashlib.sha256(self.files[number].read_bytes()).digest()
            except OSError as error:
                raise _unreadable(self.files[number], error) from error

    def readable(self) -> tuple[int, ...]:
        """The numbers of the files that can be read: every one is, to know."""
        kept = []
        for number, path in enumerate(self.files):
            try:
                self._opened(path)
            except DataError:
                continue
            kept.append(number)
        return tuple(kept)

    def _opened(self, path: Path) -> Any:
        from PIL import Image

        try:
            with Image.open(path) as image:
                return image.convert("L" if self.frame.colours == 1 else "RGB")
        except Exception as error:  # pillow's plug-ins raise whatever a broken file makes them stumble over
            raise _unreadable(path, error) from error

    def _pixels(self, path: Path) -> np.ndarray:
        image = self._opened(path)
        try:
            pixels = self.preprocess.pixels(image, self.frame.height, self.frame.width).astype(self.frame.dtype)
        except DataError as error:
            raise DataError(f"the image {path} {error}") from None
        return pixels if self.frame.channels_last else pixels.transpose(2, 0, 1)


def frame_of(types: Mapping[str, TensorType], preprocess: Preprocess) -> Frame:
    """What the model's only input takes of an image. Raises `DataError` where it takes none."""
    need("images", DataError)
    if len(types) != 1:
        raise DataError(f"a folder of images feeds one input; the model has {len(types)}: use an .npz")
    name, kind = next(iter(types.items()))
    dims, dtype = kind.dims or (), element_type(name, kind)
    said = f"input {quoted(name)} is [{', '.join('?' if dim is None else str(dim) for dim in dims)}]"
    if len(dims) != 4 or not any(dims[axis] in (1, 3) for axis in (1, 3)):
        raise DataError(f"{said}: images need a batch of three colours, or of one")
    last = preprocess.layout == "NHWC" or (preprocess.layout == "auto" and _channels_last(dims))
    colours, height, width = (dims[3], dims[1], dims[2]) if last else (dims[1], dims[2], dims[3])
    if colours not in (1, 3):
        raise DataError(f"{said}: read as {preprocess.layout}, that is not three colours, nor one")
    if not (isinstance(height, int) and isinstance(width, int)):
        raise DataError(f"{said}: images need a known height and width; bind them with {setting('input_shapes')}")
    if colours == 1 and max(len(preprocess.mean), len(preprocess.std)) > 1:
        raise DataError(f"{said}: the preprocessing has a mean or std for each of three colours")
    if dtype.kind in "iub" and not preprocess.keeps_values:
        raise DataError(f"{said} of {dtype}: pixels stay integers only with {setting('preprocess', 'raw')}")
    return Frame(name, height, width, int(colours), last, dtype)


def _channels_last(dims: Sequence[object]) -> bool:
    return dims[1] != 3 and (dims[3] == 3 or (dims[3] == 1 and dims[1] != 1))


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"cannot read the image {path}: {getattr(error, 'strerror', None) or first_line(error)}")
