"""A picture of a document, as SVG, with the words for those who do not see it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from tse_onnx.passes.reasons import printable

_ELLIPSIS = "…"


@dataclass(frozen=True)
class Figure:
    """A picture: `svg` as it stands in the document, `title` its caption, `text` what it shows in words. Those that
    belong `to` a block stand together under its name."""

    title: str
    text: str
    svg: str
    to: str = ""


def svg(width: float, height: float, title: str, body: str) -> str:
    """A picture of so many units, which scales with its place. `body` is markup, `title` is text."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{text(title)}</title>{body}</svg>"
    )


def text(value: str, most: int = 0) -> str:
    """Text for markup, the end of it where it is longer than `most` letters."""
    shown = printable(value)
    return escape(_ELLIPSIS + shown[1 - most :] if most and len(shown) > most else shown)


def label(x: float, y: float, value: str, most: int = 0, kind: str = "", anchor: str = "start") -> str:
    """A line of text at a place."""
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{classes}>{text(value, most)}</text>'
