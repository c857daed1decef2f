"""Why a pooling is not converted: a code for programs and a text for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import NodeProto

# Every code, with the condition that failed. docs/reasons.md says what a user can do about each.
CODES = {
    "axes": "the pooling is not a mean over exactly the spatial axes",
    "rank": "the pooled tensor has not the rank of a feature map",
    "shape": "the size of the pooled tensor is not known",
    "head": "the mean is never multiplied back onto the pooled tensor",
    "other-tensor": "the gate multiplies another tensor than the one that was pooled",
    "not-mul": "the gate meets the pooled tensor in an operator that does not scale it",
    "operator": "an operator on the way from mean to gate does not act on one descriptor alone",
    "weights": "an operator on the way reads a value that is not constant",
    "shared": "the descriptor or the gate is also used elsewhere",
    "output": "the descriptor or the gate is an output of the graph",
    "layout": "the gate does not lie along the channels of the map that it scales",
    "size": "the pooling covers the map only at one size of the input",
    "quantised": "the operators are quantised as a whole, not by Q/DQ pairs",
    "channels": "the gate has not one value per channel of the pooled tensor",
    "kind": "the block is a relative of squeeze-and-excite that was not asked for",
    "recompute": "nothing narrower can be held in place of the map",
    "previous": "the gates of the frame before cannot be an input of the model",
    "opset": "the model's opset has no exact form of the tiles",
    "target": "no form of the block is within the limits of the target",
}


@dataclass(frozen=True)
class Refusal:
    """Why a candidate is refused.

    `code` is a key of `CODES`; `text` is one sentence that names the node, the condition that failed and, where there
    is something to do, what; `node` is the label of the node that it stopped at.
    """

    code: str
    text: str
    node: str = ""

    def __str__(self) -> str:
        return self.text


def printable(name: str) -> str:
    """A name fit for a terminal: what does not print is escaped, so that no model can send control sequences."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def quoted(name: str) -> str:
    """A printable name in quotes."""
    return f"'{printable(name)}'"


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something; names out of the model may stand in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0]) if lines else type(error).__name__


def label(node: NodeProto) -> str:
    """How messages call a node: its operator and its name, or its first output where it has no name."""
    return f"{printable(node.op_type)} {quoted(node.name or next(iter(node.output), ''))}"


def refuse(code: str, text: str, node: NodeProto | None = None) -> Refusal:
    """A refusal whose text begins with the node it stopped at."""
    assert code in CODES, code
    if node is None:
        return Refusal(code, text)
    return Refusal(code, f"{label(node)} {text}", label(node))
