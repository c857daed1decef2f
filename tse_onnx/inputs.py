"""What a model is fed with when it is verified: seeded noise, or the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tse_onnx.errors import DataError
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.shapes import TensorType, first_line

Feed = Mapping[str, np.ndarray]

# Samples in one run where the batch is dynamic: enough to keep the processor busy, few enough to bound the memory.
_BATCH = 8
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})


@dataclass(frozen=True)
class Preprocess:
    """What becomes of an image: its shorter side resized, the centre cropped, then (pixel / 255 − mean) / deviation."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


# Every preset of `--preprocess`, with the networks that usually want it.
PREPROCESSES = {
    "unit": Preprocess(),  # 0 … 1
    "imagenet": Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision and most of timm
    "signed": Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # −1 … 1: TensorFlow's MobileNets, some of timm
}


@dataclass(frozen=True)
class Inputs:
    """Feeds for a model, made when asked for; `text` tells the report what they are, `samples` how many."""

    text: str
    samples: int
    _feeds: Callable[[], Iterator[Feed]] = field(repr=False)

    def __iter__(self) -> Iterator[Feed]:
        return self._feeds()


def random_inputs(types: Mapping[str, TensorType], seed: int) -> Inputs:
    """One feed of seeded noise: standard normal for floats, 0 and 1 for integers and booleans. Unknown dimensions
    become 1."""

    def feeds() -> Iterator[Feed]:
        random = np.random.default_rng(seed)
        yield {name: _noise(random, name, kind) for name, kind in types.items()}

    return Inputs(f"seeded noise (seed {seed})", 1, feeds)


def data_inputs(types: Mapping[str, TensorType], path: Path, preprocess: str = "unit") -> Inputs:
    """Feeds from an .npz (one array per input name), an .npy, or a folder of images (models with one input).

    The first axis of every array is the batch. Raises `DataError`.
    """
    if path.is_dir():
        return _images(types, path, PREPROCESSES[preprocess])
    if not types:
        raise DataError(f"the model takes no input that {path} could feed")
    arrays = _arrays(types, path)
    checked = {name: _fitted(name, array, types[name]) for name, array in arrays.items()}
    counts = {len(array) for array in checked.values()}
    if len(counts) != 1 or 0 in counts:
        raise DataError(f"the arrays in {path} hold different numbers of samples, or none")
    samples = counts.pop()
    step = _step(types, samples)

    def feeds() -> Iterator[Feed]:
        for start in range(0, samples - samples % step, step):
            yield {name: array[start : start + step] for name, array in checked.items()}
        if samples % step:
            yield {name: array[-(samples % step) :] for name, array in checked.items()}

    return Inputs(f"{samples} samples from {path.name}", samples, feeds)


def _noise(random: np.random.Generator, name: str, kind: TensorType) -> np.ndarray:
    shape = tuple(dim if isinstance(dim, int) else 1 for dim in kind.dims or ())
    dtype = _dtype(name, kind)
    try:
        if dtype.kind in "iub":
            return random.integers(0, 2, shape).astype(dtype)
        return random.standard_normal(shape).astype(dtype)
    except (MemoryError, ValueError) as error:
        raise DataError(f"input {quoted(name)} of shape {list(shape)} does not fit into the memory") from error


def _dtype(name: str, kind: TensorType) -> np.dtype[Any]:
    if kind.dtype == TensorProto.STRING:
        raise DataError(f"input {quoted(name)} takes strings: give data with --data, or --no-verify")
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.dtype))
    except (KeyError, ValueError):
        raise DataError(f"input {quoted(name)} has a type that onnx does not know") from None


def _arrays(types: Mapping[str, TensorType], path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if len(types) != 1:
                raise DataError(
                    f"{path} holds one array; the model has {len(types)} inputs: use an .npz with their names"
                )
            return {next(iter(types)): loaded}
        with loaded:
            missing = [name for name in types if name not in loaded.files]
            if missing:
                raise DataError(f"{path} holds {', '.join(loaded.files)}; it lacks " + ", ".join(map(quoted, missing)))
            members = {name: loaded[name] for name in types}
        strange = [name for name, member in members.items() if not isinstance(member, np.ndarray)]
        if strange:  # numpy hands out a member that is no array as its bytes
            raise DataError(f"in {path}, {quoted(strange[0])} is no array")
        return members
    except DataError:
        raise
    except Exception as error:  # numpy passes on whatever zip, zlib and its own header parser raise
        text = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"cannot read {path} as .npy, .npz or a folder of images: {text}") from error


def _fitted(name: str, array: np.ndarray, kind: TensorType) -> np.ndarray:
    """The array in the input's type; raises where the shape does not fit or numbers would be lost."""
    dims = kind.dims
    if array.ndim == 0:
        raise DataError(f"the data for {quoted(name)} are a single number; their first axis has to be the batch")
    if dims is not None and (
        array.ndim != len(dims)
        or any(isinstance(dim, int) and dim != size for dim, size in zip(dims[1:], array.shape[1:], strict=True))
    ):
        wanted = ", ".join(str(dim) if dim is not None else "?" for dim in dims)
        raise DataError(f"the data for {quoted(name)} have shape {list(array.shape)}; the model takes [{wanted}]")
    dtype = _dtype(name, kind)
    if array.dtype.kind not in "fiubV" or (array.dtype.kind == "f" and dtype.kind in "iub"):
        raise DataError(f"the data for {quoted(name)} are {array.dtype}; the model takes {dtype}")
    with np.errstate(all="ignore"):
        fitted = array.astype(dtype, copy=False)
    if dtype.kind in "iub" and not np.array_equal(fitted, array):
        raise DataError(f"the data for {quoted(name)} hold {array.dtype} numbers that {dtype} has not")
    return fitted


def _step(types: Mapping[str, TensorType], samples: int) -> int:
    """Samples in one run: what the model's batch says, where it is fixed."""
    fixed = {kind.dims[0] for kind in types.values() if kind.dims and isinstance(kind.dims[0], int)}
    if not fixed:
        return min(_BATCH, samples)
    step = max(fixed)
    if samples % step:
        raise DataError(f"the model takes batches of {step}; {samples} samples do not divide into them")
    return step


def _images(types: Mapping[str, TensorType], folder: Path, preprocess: Preprocess) -> Inputs:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("reading images needs pillow: pip install 'tse-onnx[images]'") from None
    if len(types) != 1:
        raise DataError(f"a folder of images feeds one input; the model has {len(types)}: use an .npz")
    name, kind = next(iter(types.items()))
    dims = kind.dims or ()
    channels_last = len(dims) == 4 and dims[3] == 3 and dims[1] != 3
    spatial = dims[1:3] if channels_last else dims[2:4]
    if len(dims) != 4 or 3 not in (dims[1], dims[3]) or not all(isinstance(dim, int) for dim in spatial):
        raise DataError(
            f"input {quoted(name)} is {list(dims)}: images need a batch of three colours and a known height and width"
        )
    height, width = (int(dim) for dim in spatial if isinstance(dim, int))
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    if not paths:
        raise DataError(f"{folder} holds no images")
    mean, deviation = np.array(preprocess.mean, np.float32), np.array(preprocess.deviation, np.float32)
    dtype = _dtype(name, kind)
    step = _step(types, len(paths))

    def pixels(path: Path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                colour = image.convert("RGB")
        except Exception as error:  # pillow's plug-ins raise whatever a broken file makes them stumble over
            raise DataError(f"cannot read the image {path}: {first_line(error)}") from error
        scale = max(height / colour.height, width / colour.width)
        # A picture that is larger by up to a seventh is cropped as it is: the usual 256 for 224.
        if not 7 / 8 <= scale <= 1:
            resized = max(width, round(colour.width * scale)), max(height, round(colour.height * scale))
            colour = colour.resize(resized, Image.Resampling.BILINEAR)
        left, top = (colour.width - width) // 2, (colour.height - height) // 2
        crop = np.asarray(colour, np.float32)[top : top + height, left : left + width]
        normal = ((crop / np.float32(255) - mean) / deviation).astype(dtype)
        return normal if channels_last else normal.transpose(2, 0, 1)

    def feeds() -> Iterator[Feed]:
        for start in range(0, len(paths), step):
            yield {name: np.ascontiguousarray(np.stack([pixels(path) for path in paths[start : start + step]]))}

    return Inputs(f"{len(paths)} images from {folder.name}", len(paths), feeds)
