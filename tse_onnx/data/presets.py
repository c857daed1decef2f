"""What `--preprocess` may say: a preset's name, or a TOML file with the keys of `Preprocess` over a preset.

preset = "imagenet"
resize = 256
interpolation = "bicubic"
"""

from __future__ import annotations

import dataclasses
import os
from typing import Union

from tse_onnx.data.preprocess import Preprocess
from tse_onnx.errors import UsageError
from tse_onnx.files.toml import named_or_read, need_keys, parse_toml

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# What `--preprocess` knows by name. docs/data.md says which networks want which.
PRESETS = {
    "unit": Preprocess(),
    "imagenet": Preprocess(mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "signed": Preprocess(mean=(0.5,), std=(0.5,)),
    "raw": Preprocess(divisor=1),
    "caffe": Preprocess(divisor=1, mean=(103.939, 116.779, 123.68), colours="BGR"),
    "torchvision": Preprocess(0.875, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "timm": Preprocess(0.875, interpolation="bicubic", mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
}

_FIELDS = tuple(field.name for field in dataclasses.fields(Preprocess))

# What the library takes: a preset's name, a file, or the thing itself.
Preprocessing = Union[str, "os.PathLike[str]", Preprocess]


def preprocess_of(value: Preprocessing) -> Preprocess:
    """The preprocessing that a preset's name or a file means. Raises `UsageError` where there is none."""
    if isinstance(value, Preprocess):
        return value
    return named_or_read(
        value,
        PRESETS,
        parse_preprocess,
        what="preprocessing",
        wrong="images are prepared as {}, or by a .toml file, not as {}",
    )


def parse_preprocess(text: str, title: str = "the preprocessing") -> Preprocess:
    """The preprocessing in the text of a TOML file, which messages call `title`. Raises `UsageError`."""
    stated = parse_toml(text, title)
    need_keys(stated, ("preset", *_FIELDS), title)
    base = stated.pop("preset", "unit")
    if not isinstance(base, str) or base not in PRESETS:
        raise UsageError(f"{title}: preset is {', '.join(PRESETS)}, not {base!r}")
    try:
        return dataclasses.replace(PRESETS[base], **stated)
    except UsageError as error:
        raise UsageError(f"{title}: {error}") from None
