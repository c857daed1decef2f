"""How a command shows what it found: printed in the format that was asked for, and in files beside that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.groups import Option, group
from tse_onnx.cli.output import OutputPath

if TYPE_CHECKING:
    from tse_onnx.report.view import View


def _text(view: View, err: bool) -> None:
    from tse_onnx.report.page import page

    view.print(page(stderr=err))


def _markdown(view: View, err: bool) -> None:
    from tse_onnx.report.markdown import Markdown

    view.print(Markdown(stderr=err))


def _json(view: View, err: bool) -> None:
    click.echo(_json_text(view), err=err)


def _json_text(view: View) -> str:
    """In ASCII, so that no name in it can steer a terminal or break an encoding."""
    import json

    return json.dumps(view.json(), indent=2, allow_nan=False)


_TEXT = "text"
_FORMATS = {_TEXT: _text, "json": _json, "markdown": _markdown}


@dataclass(frozen=True)
class Display:
    """The format in which a result is printed, and the files that it is written into as JSON, as CSV, as a picture."""

    form: str = _TEXT
    report: Path | None = None
    csv: Path | None = None
    plot: Path | None = None

    def __post_init__(self) -> None:
        if self.plot is not None:
            from tse_onnx.report.picture import plot_kind

            plot_kind(self.plot)  # rather now than when the work is done

    @property
    def asked(self) -> bool:
        """Whether a format was asked for other than that of people who asked for none."""
        return self.form != _TEXT

    def show(self, view: View, *, err: bool = False) -> None:
        """Print a result, on standard output or on standard error."""
        _FORMATS[self.form](view, err)

    def write(self, view: View) -> None:
        """Write a result into its files. Raises `ModelError` where one cannot be written."""
        from tse_onnx.files.write import write_text

        if self.report is not None:
            write_text(self.report, _json_text(view) + "\n")
        if self.csv is not None:
            write_text(self.csv, view.csv())
        if self.plot is not None:
            view.draw(self.plot)


def display_options(**files: str) -> Option:
    """Give a command `--format`, and an option for each of the `files` that it offers (report, csv, plot), which comes
    with its help; it receives them as a `Display`."""
    options = [
        click.option(f"--{name}", f"display_{name}", type=OutputPath(), metavar="FILE", help=text)
        for name, text in files.items()
    ]
    options.append(
        click.option(
            "--format",
            "display_form",
            type=click.Choice(list(_FORMATS)),
            default=_TEXT,
            show_default=True,
            help="What to print: on standard output, or on standard error where that has the output.",
        )
    )
    return group(options, _display)


def _display(**values: Any) -> Mapping[str, Display]:
    return {"display": Display(**{name.removeprefix("display_"): value for name, value in values.items()})}
