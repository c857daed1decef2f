"""The document: what a view prints for people, its verdict first, with its pictures, in one file that needs no
other."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from tse_onnx.passes.reasons import printable
from tse_onnx.report.html.sheet import Line, Sheet
from tse_onnx.report.html.told import Models, told
from tse_onnx.report.page import Table
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    from tse_onnx.report.html.figure import Figure
    from tse_onnx.report.view import View

_TEMPLATES = "templates"
NO_MODELS = Models()


def document(
    view: View, command: str, words: Sequence[str], models: Models = NO_MODELS, configuration: str = ""
) -> str:
    """The HTML of the view of a `command`, which the command line `words` makes, about these `models`; `configuration`
    says which of its options came from a file. The same result makes the same bytes."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    about, sheet = told(view, models), Sheet()
    view.print(sheet)
    verdict = _verdict(view)
    style, script = _file("report.css"), _file("report.js")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_file("report.html.j2"))
    loose = [figure for figure in about.figures if not figure.to]
    return template.render(
        title=f"{printable(about.model)}: tse-onnx {command}",
        command=command,
        model=printable(about.model),
        verdict=verdict,
        figures=[_marked(figure, Markup) for figure in loose],
        blocks=_blocks(about.figures, Markup),
        items=[_item(item) for item in sheet.items if not (isinstance(item, Line) and item.text in verdict)],
        plan=about.plan,
        invocation=shlex.join(["tse-onnx", *map(printable, words)]),
        configuration=printable(configuration),
        versions=_versions(),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )  # fmt: skip


def _verdict(view: View) -> list[str]:
    page = Sheet()
    try:
        view.brief(page)
    except NotImplementedError:
        return []
    return [item.text for item in page.items if isinstance(item, Line)]


def _blocks(figures: Sequence[Figure], markup: Any) -> list[Mapping[str, Any]]:
    names = dict.fromkeys(figure.to for figure in figures if figure.to)
    return [
        {"name": printable(name), "figures": [_marked(each, markup) for each in figures if each.to == name]}
        for name in names
    ]


def _marked(figure: Figure, markup: Any) -> Mapping[str, Any]:
    return {"title": figure.title, "text": printable(figure.text), "svg": markup(figure.svg)}


def _item(item: Line | Table) -> Mapping[str, Any]:
    if isinstance(item, Line):
        return {"text": item.text, "kind": item.style if item.style in ("bold", "dim") else ""}
    rows = [{"cells": list(cells), "kind": style if style in ("bold", "dim") else ""} for cells, style in item.rows]
    caption = " and ".join(filter(None, (item.headings[0], *item.headings[1:2]))) or "figures"
    return {"headings": list(item.headings), "right": list(item.right), "rows": rows, "caption": caption}


def _file(name: str) -> str:
    return (resources.files(__package__) / _TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the policy of the document allows to be in it: this text alone."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = [f"tse-onnx {VERSION}"]
    for name in ("onnx", "onnxruntime", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
