"""Graphs and what is to be found in them, as text: one file each, so that a further case is a further file.

A file is what onnx's parser reads. Its comments on top say what the graph is, and then, a line for each candidate in the
order of its poolings, what it has to be: `# expect: refused CODE`, or `# expect: KIND C × EXTENTS` for a block that can
be converted. Without such a line nothing may be found. A value that the list of types names, and nothing makes, is a
weight of seeded noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, helper, numpy_helper, parser

FOLDER = Path(__file__).parent
_FIELD = re.compile(r"([a-z]+): (.*)")


@dataclass(frozen=True)
class Case:
    """A graph, and its comments on top: sentences, and fields by name in their order."""

    model: ModelProto
    text: str
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]


def read(file: Path, *, graph: bool = True) -> Case:
    """The case in a file; without `graph`, what its comments say of an empty one.

    Raises `onnx.parser.ParseError` where the graph is none.
    """
    source = file.read_text(encoding="utf-8")
    text, fields = [], []
    for line in _comments(source):
        match = _FIELD.fullmatch(line)
        if match:
            fields.append(match.groups())
        else:
            text.append(line)
    model = parser.parse_model(source) if graph else ModelProto()
    _add_weights(model)
    return Case(model, " ".join(text), tuple(fields))


def _comments(source: str) -> Iterator[str]:
    for line in source.splitlines():
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").strip()


def _add_weights(model: ModelProto) -> None:
    """Give noise to what has a type and no maker; the list of types is emptied, as few exporters state any."""
    graph = model.graph
    made = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    noise = np.random.default_rng(1)
    for value in graph.value_info:
        if value.name not in made:
            kind = value.type.tensor_type
            array = noise.standard_normal([dim.dim_value for dim in kind.shape.dim])
            typed = np.asarray(array, helper.tensor_dtype_to_np_dtype(kind.elem_type))
            graph.initializer.append(numpy_helper.from_array(typed, value.name))
    del graph.value_info[:]
