"""Samples from videos: a folder of frames for each stream, in the order of the numbers in their names.

Nothing tells a frame of another video but its name and its size. So frames of a stream are called alike but for a
number, and have one size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tse_onnx.data.images import Pictures, frame_of, image_size, images_in
from tse_onnx.data.preprocess import Preprocess
from tse_onnx.data.samples import Samples, batch_of
from tse_onnx.errors import DataError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted

_NUMBER = re.compile(r"(?s)(.*?)([0-9]{1,18})([^0-9]*)")


def frames_of(types: Mapping[str, TensorType], folder: Path, preprocess: Preprocess) -> Samples:
    """The frames in a folder, or in the folders inside it, stream after stream and one by one.

    Every file is looked at beforehand. Raises `DataError` where the model's only input takes no image, or a batch that
    would mix frames of a stream; where there are no frames; and where those of a stream are not numbered, or of
    different sizes.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; frames are a folder of images for each stream")
    batch, _ = batch_of(types, 1)
    if batch != 1:
        raise DataError(
            f"the model takes batches of {batch}, which would mix the frames of a stream: they go one by one"
        )
    frame = frame_of(types, preprocess)
    streams = [_in_order(files) for files in _streams(folder)]
    for stream in streams:
        _of_one_size(stream)
    files = tuple(file for stream in streams for file in stream)
    starts = [sum(map(len, streams[:number])) for number in range(len(streams))]
    text = f"{_count(len(files), 'frame')} of {_count(len(streams), 'stream')} from {folder.resolve().name}"
    names = tuple(f"{file.resolve().parent.name}/{file.name}" for file in files)
    content = Pictures(files, frame, preprocess)
    return Samples(text, 1, True, names, None, content, tuple(range(len(files))), starts=tuple(starts))


def _streams(folder: Path) -> list[list[Path]]:
    own, inner = images_in(folder)
    if own and any(images_in(path)[0] for path in inner):
        raise DataError(f"{folder} holds images and folders of images; frames are a folder for each stream")
    if own:
        return [own]
    found = [images_in(path)[0] for path in inner]
    if empty := next((path for path, files in zip(inner, found, strict=True) if not files), None):
        raise DataError(f"{empty} holds no images")
    if not found:
        raise DataError(f"{folder} holds no images")
    return found


def _in_order(files: Sequence[Path]) -> list[Path]:
    """The frames of a stream by their numbers."""
    numbers: dict[int, Path] = {}
    alike = None
    for file in files:
        parts = _NUMBER.fullmatch(file.stem)
        around = parts and (parts[1], parts[3], file.suffix)
        if parts is None or around != (alike or around):
            raise DataError(
                f"the frames in {file.parent} are not numbered: {quoted(file.name)} is not called as the others but "
                "for a number, as frame_0001.png is"
            )
        alike = around
        if (other := numbers.setdefault(int(parts[2]), file)) is not file:
            raise DataError(f"the frames {quoted(other.name)} and {quoted(file.name)} in {file.parent} have one number")
    return [numbers[number] for number in sorted(numbers)]


def _of_one_size(files: Sequence[Path]) -> None:
    first = image_size(files[0])
    for file in files[1:]:
        if (size := image_size(file)) != first:
            shown = [
                f"{quoted(one.name)} is {height} × {width}"
                for one, (width, height) in ((files[0], first), (file, size))
            ]
            raise DataError(f"the frames in {file.parent} have different sizes: {', '.join(shown)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
