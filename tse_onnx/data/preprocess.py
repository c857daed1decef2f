"""What becomes of an image before a model sees it: said here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.errors import DataError, UsageError
from tse_onnx.passes.settings import setting

if TYPE_CHECKING:
    import numpy as np

FIT, STRETCH, NONE, CENTRE = "fit", "stretch", "none", "centre"
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
COLOURS = ("RGB", "BGR")
LAYOUTS = ("auto", "NCHW", "NHWC")

Resize = str | int | float | tuple[int, int]


@dataclass(frozen=True)
class Preprocess:
    """An image is resized, its centre cropped to the model's input, and each pixel becomes (x / divisor − mean) / std.

    `resize` is one of

    * "fit": just large enough for the input, unless it is larger by less than a seventh, as 256 is for 224;
    * a number of pixels: its shorter side becomes that;
    * a fraction: it is made to cover the input's size over that, as 0.875 makes 256 of 224;
    * (height, width): exactly that, whatever its proportions;
    * "stretch": exactly the input's size, whatever its proportions;
    * "none".

    `crop` is "centre", or "none" where the resized image has to have the input's size. `mean` and `std` are one number
    or three, in the order of `colours`, RGB or BGR. `layout` is that of the input: NCHW, NHWC, or "auto", which goes by
    the input's shape. Raises `UsageError` for what makes no sense.
    """

    resize: Resize = FIT
    crop: str = CENTRE
    interpolation: str = "bilinear"
    divisor: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    colours: str = "RGB"
    layout: str = "auto"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        object.__setattr__(self, "resize", _resize(self.resize))
        if not (_is_number(self.divisor) and self.divisor > 0):
            raise UsageError(f"divisor is a number above zero, not {_shown(self.divisor)}")
        object.__setattr__(self, "divisor", float(self.divisor))
        if 0 in self.std:
            raise UsageError("std is a divisor: it cannot be zero")
        choices = {"crop": (CENTRE, NONE), "interpolation": INTERPOLATIONS, "colours": COLOURS, "layout": LAYOUTS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {', '.join(known[:-1])} or {known[-1]}, not {_shown(getattr(self, name))}")

    def __str__(self) -> str:
        text = {FIT: "resized to fit", STRETCH: "stretched to fit", NONE: "not resized"}
        if isinstance(self.resize, str):
            sizing = text[self.resize]
        elif isinstance(self.resize, tuple):
            sizing = "resized to {} × {}".format(*self.resize)
        elif isinstance(self.resize, int):
            sizing = f"shorter side resized to {self.resize}"
        else:
            sizing = f"resized to the input's size over {self.resize:g}"
        parts = [sizing + (f" ({self.interpolation})" if self.resize != NONE else "")]
        if self.crop == CENTRE:
            parts.append("centre cropped")
        value = "x" if self.divisor == 1 else f"x / {self.divisor:g}"
        if any(self.mean):
            value = f"{value} − {_listed(self.mean)}"
        if set(self.std) != {1.0}:
            value = f"({value}) / {_listed(self.std)}" if " " in value else f"{value} / {_listed(self.std)}"
        return ", ".join([*parts, self.colours, value])

    def pixels(self, image: Any, height: int, width: int) -> np.ndarray:
        """A pillow image (RGB, or L where the input has one colour) as an array [height, width, colours] in single
        precision.

        Raises `DataError`, in words that follow the image's name, where it has not the size that is needed.
        """
        import numpy as np
        from PIL import Image

        size = self.size(image.size, (width, height))
        if size != image.size:
            image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        if size[0] < width or size[1] < height or (self.crop == NONE and size != (width, height)):
            how = "resized to" if self.resize != NONE else "of"
            raise DataError(
                f"{how} {size[1]} × {size[0]} is not the input's size, {height} × {width}; see {setting('preprocess')}"
            )
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        pixels = np.asarray(image, np.float32)[top : top + height, left : left + width]
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if self.colours == "BGR":
            pixels = pixels[:, :, ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        prepared: np.ndarray = (pixels / np.float32(self.divisor) - mean) / std
        return prepared

    def size(self, image: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
        """Width and height that an image of this width and height is resized to, for an input of the size `wanted`."""
        if self.resize == NONE:
            return image
        if self.resize == STRETCH:
            return wanted
        if self.resize == FIT:
            scale = max(wanted[0] / image[0], wanted[1] / image[1])
            if 7 / 8 <= scale <= 1:
                return image
            return max(wanted[0], round(image[0] * scale)), max(wanted[1], round(image[1] * scale))
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        if isinstance(self.resize, int):
            return _covering(image, (self.resize, self.resize))
        assert isinstance(self.resize, float)
        return _covering(image, (math.floor(wanted[0] / self.resize), math.floor(wanted[1] / self.resize)))

    @property
    def keeps_values(self) -> bool:
        """Whether pixels stay the integers that they are."""
        return self.divisor == 1 and not any(self.mean) and set(self.std) == {1.0}


def _covering(image: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the image's proportions that covers `wanted`, rounded down as torchvision does."""
    (width, height), (across, down) = image, wanted
    if across * height >= down * width:
        return across, across * height // width
    return down * width // height, down


def _resize(value: object) -> Resize:
    if value in (FIT, STRETCH, NONE):
        return str(value)
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(one) is int and one > 0 for one in value):
        return value[0], value[1]
    if type(value) is int and value > 0:
        return value
    if type(value) is float and 0 < value <= 1:
        return value
    raise UsageError(
        "resize is fit, stretch, none, a number of pixels, a fraction up to 1.0, or [height, width], not "
        + _shown(value)
    )


def _numbers(name: str, value: object) -> tuple[float, ...]:
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if len(numbers) not in (1, 3) or not all(map(_is_number, numbers)):
        raise UsageError(f"{name} is one number or three, not {_shown(value)}")
    return tuple(float(one) for one in numbers)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _listed(numbers: tuple[float, ...]) -> str:
    shown = [f"{one:g}" for one in numbers]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _shown(value: object) -> str:
    return f"{value!r}"[:60] if not isinstance(value, Mapping) else "a table"
