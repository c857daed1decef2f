"""What a small block becomes, as text: a file for each form that a choice comes to, to be read and to be compared.

Each file says in its comments which block it starts from (a file of blocks/), the choice by its fields, and the options of
the conversion beside it; below stands the graph that comes out. `python -m tests.cases.lowered` writes all of them anew:
what has changed in them is what a change of the code has done to every user's models, so read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path

from onnx import ModelProto, parser, printer

import tse_onnx
from tests.cases import Case, read
from tse_onnx import Plan
from tse_onnx.passes.blocks.choices import choice_of

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.onnxtxt"))
OPTIONS = ("upsample", "means")


def lowered(case: Case) -> ModelProto:
    """The graph that the comments of a case ask for; the record for the way back, which no one can read, left out."""
    (block,), (choice,) = case.all("block"), case.all("choice")
    options = {name: value for name, value in case.fields if name in OPTIONS}
    model = read(FOLDER / "blocks" / f"{block}.onnxtxt").model
    (candidate,) = tse_onnx.find_blocks(model)
    plan = Plan(None, {candidate.name: choice_of(json.loads(choice))})
    made = tse_onnx.convert(model, plan=plan, expect=1, **options).model
    del made.metadata_props[:]
    return made


def as_parsed(model: ModelProto) -> ModelProto:
    """What is left of a model in text."""
    return parser.parse_model(printer.to_text(model))


def write(file: Path) -> None:
    """Write a file's graph anew, under the comments that it has."""
    text = file.read_text(encoding="utf-8")
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    file.write_text(f"{comments}{printer.to_text(lowered(read(file, graph=False)))}\n", encoding="utf-8")
