"""What every report is: a result, and the ways in which it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tse_onnx.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tse_onnx.report.page import Page


class View(ABC):
    """A result as it is shown: to programs as an object, to people as text; some also as CSV or as a picture."""

    @abstractmethod
    def json(self) -> dict[str, Any]:
        """What a program is told; docs/ has its schema."""

    @abstractmethod
    def print(self, page: Page) -> None:
        """Tell people, on a page."""

    @property
    def headline(self) -> str:
        """The result in a line, where that is not what is said first."""
        return ""

    def brief(self, page: Page) -> None:
        """Tell people no more than the verdict, where there is one."""
        raise NotImplementedError

    def csv(self) -> str:
        """The lines of a table for other programs, where there is one."""
        raise NotImplementedError

    def rows(self) -> list[dict[str, Any]]:
        """A row for each block, tensor or layer, as the object has it, where there are such."""
        raise NotImplementedError

    def figure(self) -> Figure:
        """A picture. Raises `UsageError` where there is none."""
        raise UsageError("there is no picture of this result")

    def draw(self, path: Path) -> None:
        """Write the picture. Raises `UsageError` for a kind of picture that is not drawn."""
        from tse_onnx.report.picture import plot_kind, save

        plot_kind(path)
        save(self.figure(), path)
