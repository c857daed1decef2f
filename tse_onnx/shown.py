"""What a result says of itself in a program and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown:
    """A result that can be looked at. Results lie below their views, so the front door is asked for these."""

    __slots__ = ()

    def __repr__(self) -> str:
        """One line."""
        return f"<{type(self).__name__}: {_face(self).line}>"

    def summary(self) -> str:
        """What the command prints, as text."""
        return str(_face(self).text)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        found: dict[str, Any] = _face(self).view.json()
        return found

    def to_frame(self) -> Any:
        """A pandas `DataFrame` with a row for each block, tensor or layer, its columns named as in `to_dict`.

        Raises `UsageError` where pandas is missing."""
        return _face(self).frame()

    def plot(self) -> Figure:
        """A matplotlib figure: the picture that the command's `--plot` writes.

        Raises `UsageError` where there is no picture of this, or matplotlib is missing."""
        figure: Figure = _face(self).view.figure()
        return figure

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, and the first rows of the first table."""
        return str(_face(self).html)


def _face(result: Shown) -> Any:
    from tse_onnx import _face_of

    return _face_of(result)
