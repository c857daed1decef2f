"""What every report is: a result, and the ways in which it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tse_onnx.report.page import Page


class View(ABC):
    """A result as it is shown: to programs as an object, to people as text; some also as CSV or as a picture."""

    @abstractmethod
    def json(self) -> dict[str, Any]:
        """What a program is told; docs/ has its schema."""

    @abstractmethod
    def print(self, page: Page) -> None:
        """Tell people, on a page."""

    def brief(self, page: Page) -> None:
        """Tell people no more than the verdict, where there is one."""
        raise NotImplementedError

    def csv(self) -> str:
        """The lines of a table for other programs, where there is one."""
        raise NotImplementedError

    def draw(self, path: Path) -> None:
        """Write a picture, where there is one. Raises `UsageError` for a kind of picture that is not drawn."""
        raise NotImplementedError
