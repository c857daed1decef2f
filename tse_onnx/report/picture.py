"""A picture: an empty one to draw on, and how it becomes a file, of which kinds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tse_onnx.errors import UsageError
from tse_onnx.files.write import write_bytes
from tse_onnx.installation.extras import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_kind(path: Path) -> str:
    """What kind of picture a file is for; `UsageError` where none can be drawn. To ask before the work is done."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise UsageError(f"a plot is an .svg or a .png, not {path.name}")
    need("plot")
    return kind


def blank(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A figure of so many inches, which needs no screen; without a `layout` its parts stay where they are put. Raises
    `UsageError` where matplotlib is missing."""
    need("plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure, without the date and the program that would make the bytes others each time."""
    kind, data = plot_kind(path), io.BytesIO()
    figure.savefig(data, format=kind, dpi=144, metadata={"Date": None} if kind == "svg" else {"Software": None})
    write_bytes(path, data.getvalue())
