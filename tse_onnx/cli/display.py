"""How a command shows what it found: printed in the format that was asked for, and in files beside that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.groups import Option, group
from tse_onnx.cli.output import OutputPath, is_stdout
from tse_onnx.passes.reasons import printable

if TYPE_CHECKING:
    from onnx import ModelProto

    from tse_onnx.report.page import Page
    from tse_onnx.report.view import View


def _text(view: View, err: bool, quiet: bool) -> None:
    from tse_onnx.report.page import page

    _print(view, page(stderr=err), quiet)


def _markdown(view: View, err: bool, quiet: bool) -> None:
    from tse_onnx.report.markdown import Markdown

    _print(view, Markdown(stderr=err), quiet)


def _print(view: View, page: Page, quiet: bool) -> None:
    if quiet:
        view.brief(page)
    else:
        view.print(page)


def _json(view: View, err: bool, quiet: bool) -> None:
    click.echo(_json_text(view), err=err)


def _json_text(view: View) -> str:
    """In ASCII, so that no name in it can steer a terminal or break an encoding."""
    import json

    return json.dumps(_with_configuration(view.json()), indent=2, allow_nan=False)


def _with_configuration(found: dict[str, Any]) -> dict[str, Any]:
    """The object, and behind its version where options came from that nobody typed."""
    from tse_onnx.cli.configuration import configured

    taken = configured(click.get_current_context())
    if taken is None or "configuration" in found:
        return found
    head: dict[str, Any] = {key: found[key] for key in ("schema", "tse_onnx") if key in found}
    return {**head, "configuration": taken.json(), **found}


def _again(ctx: click.Context) -> list[str]:
    """What to type behind the program's name for the same result, whatever file of defaults there is then."""
    from tse_onnx.cli.configuration import configured

    typed: Sequence[str] = ctx.find_root().meta.get(WORDS, ())
    taken, rest = configured(ctx), ctx.find_root().meta.get(REST, 0)
    if taken is None:
        return list(typed)
    command, *others = typed[len(typed) - rest :]
    return ["--no-config", command, *taken.words, *others]


WORDS = "tse_onnx.words"
"""Where the context keeps what was typed behind the program's name."""
REST = "tse_onnx.rest"
"""Where it keeps how many of these words are the command and what follows it."""
_TEXT = "text"
_JSON = "json"
HTML = "Write a report to share: one HTML file with the verdict, tables and pictures, which needs no network."
_FORMATS = {_TEXT: _text, _JSON: _json, "markdown": _markdown}


@dataclass(frozen=True)
class Display:
    """The format in which a result is printed, and the files that it is written into as JSON, as CSV, as a picture."""

    form: str = _TEXT
    report: Path | None = None
    csv: Path | None = None
    plot: Path | None = None
    html: Path | None = None
    quiet: bool = False
    """Whether nothing but the verdict is printed."""

    def __post_init__(self) -> None:
        if self.quiet and self.form == _JSON:
            raise click.UsageError("--quiet is for people; the verdict of --format json is what jq .verdict prints")
        if self.plot is not None:
            from tse_onnx.report.picture import plot_kind

            plot_kind(self.plot)  # rather now than when the work is done

    @property
    def asked(self) -> bool:
        """Whether a format was asked for other than that of people who asked for none."""
        return self.form != _TEXT

    def show(self, view: View, *, err: bool = False) -> None:
        """Print a result, on standard output or on standard error."""
        _FORMATS[self.form](view, err, self.quiet)
        drawn = [printable(str(path)) for path in (self.csv, self.plot) if path is not None]
        if drawn and self.form != _JSON and not self.quiet:
            click.echo(f"Wrote {' and '.join(drawn)}.", err=err)

    def write(self, view: View, before: ModelProto | None = None, after: ModelProto | None = None) -> None:
        """Write a result into its files; its document shows the models `before` and `after`. Raises `ModelError` where
        one cannot be written."""
        from tse_onnx.files.write import write_text

        if self.report is not None:
            write_text(self.report, _json_text(view) + "\n")
        if self.csv is not None:
            write_text(self.csv, view.csv())
        if self.plot is not None:
            view.draw(self.plot)
        with self.sharing() as share:
            share(view, before, after)

    @contextlib.contextmanager
    def sharing(self) -> Iterator[Callable[[View, ModelProto | None, ModelProto | None], None]]:
        """A place for the document, looked for before there is anything to write: what it is called with is written
        there, where a document was asked for. Raises `ModelError` where one cannot be."""
        if self.html is None:
            yield lambda view, before, after: None
            return
        from tse_onnx.files.staging import staging

        with staging(self.html) as stage:

            def share(view: View, before: ModelProto | None, after: ModelProto | None) -> None:
                from tse_onnx.cli.configuration import configured
                from tse_onnx.report.html.document import document
                from tse_onnx.report.html.told import Models

                ctx = click.get_current_context()
                taken = configured(ctx)
                text = document(
                    view, ctx.info_name or "", _again(ctx), Models(before, after), "" if taken is None else str(taken)
                )
                stage.write_bytes(text.encode())
                stage.commit()

            yield share


quiet_option = click.option("-q", "--quiet", "display_quiet", is_flag=True, help="Print the verdict only.")
"""For commands whose result has a verdict."""


def display_options(*also: Option, **files: str) -> Option:
    """Give a command `--format`, an option for each of the `files` that it offers (report, csv, plot), which comes with
    its help, and `also` these; it receives them as a `Display`."""
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

    return group((*options, *also), _display)


def _display(**values: Any) -> Mapping[str, Display]:
    display = Display(**{name.removeprefix("display_"): value for name, value in values.items()})
    _keep_apart(click.get_current_context(), display)
    return {"display": display}


def _keep_apart(ctx: click.Context, display: Display) -> None:
    """Raise `click.UsageError` where a file that a result is written into would take the place of a model, read or
    written, or of another one of them."""
    taken: list[tuple[str, Path]] = []
    for parameter in ctx.command.params:
        if isinstance(parameter, click.Argument):
            value = ctx.params.get(str(parameter.name))
            named = value if isinstance(value, tuple) else (value,)
            taken += [
                (str(parameter.name).upper(), path) for path in named if isinstance(path, Path) and not is_stdout(path)
            ]
    for name in ("report", "csv", "plot", "html"):
        path: Path | None = getattr(display, name)
        if path is not None:
            for what, other in taken:
                if path.resolve() == other.resolve():
                    raise click.UsageError(f"--{name} would overwrite {what}: name another file")
            taken.append((f"--{name}", path))
