"""A tool tried with every form in every setting."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from tests.runtimes.forms import ROWS, Form, written
from tests.runtimes.judge import Outcome, Result, beside, judged, reference
from tests.runtimes.networks import SETTINGS, Setting, feeds, network
from tests.runtimes.server import Server
from tests.runtimes.tool import Tool
from tse_onnx import TseError

ORIGINAL = "original"


@dataclass(frozen=True)
class Cell:
    """One form in one setting in one tool, with rows that divide the maps or leave some over; `converted` of
    the network's two blocks have it."""

    tool: str
    form: str
    setting: str
    rows: str
    converted: int
    result: Result


def tried(tool: Tool, server: Server, forms: Sequence[Form], names: Sequence[str] = ()) -> Iterator[Cell]:
    """A cell for each form, setting and rows, the original of each setting before them; `names` are of settings."""
    with tempfile.TemporaryDirectory() as folder:
        for setting in SETTINGS:
            if all(setting.name in wanted for wanted in (names, tool.settings) if wanted):
                yield from _in_setting(tool, _Bench(server, setting, Path(folder)), forms)


def _in_setting(tool: Tool, bench: _Bench, forms: Sequence[Form]) -> Iterator[Cell]:
    setting, model = bench.setting, network(bench.setting)
    original = bench.result(model)
    yield Cell(tool.name, ORIGINAL, setting.name, "", 0, original)
    first: dict[object, tuple[str, str]] = {}  # what each plan comes to where nothing else can be written
    for form in forms:
        for rows, count in ROWS.items() if form.cuts else {"": ROWS["divides"]}.items():
            try:
                made, converted = written(model, form, count, setting)
            except TseError as error:
                yield Cell(tool.name, form.name, setting.name, rows, 0, Result(Outcome.UNWRITTEN, why=str(error)))
                continue
            name, key = first.setdefault((form.plan, rows), (form.name, digest(made)))
            if not converted:
                found = Result(Outcome.UNWRITTEN)
            elif name != form.name and key == digest(made):
                found = Result(Outcome.UNWRITTEN, why=f"as {name}")
            else:
                found = beside(bench.result(made), original)
            yield Cell(tool.name, form.name, setting.name, rows, converted, found)


def digest(model: ModelProto) -> str:
    """The same for equal graphs, whatever they remember."""
    plain = ModelProto()
    plain.CopyFrom(model)
    del plain.metadata_props[:]
    for node in plain.graph.node:
        del node.metadata_props[:]
    return hashlib.sha256(plain.SerializeToString(deterministic=True)).hexdigest()


class _Bench:
    """Where models of a setting are put before a tool; equal ones are put there once."""

    def __init__(self, server: Server, setting: Setting, folder: Path) -> None:
        self.setting, self._server, self._folder = setting, server, folder
        self._found: dict[str, Result] = {}

    def result(self, model: ModelProto) -> Result:
        key = digest(model)
        if key not in self._found:
            self._found[key] = self._run(model)
        return self._found[key]

    def _run(self, model: ModelProto) -> Result:
        given = feeds(model, self.setting)
        path, arrays, outputs = (self._folder / name for name in ("model.onnx", "feeds.npz", "outputs.npz"))
        outputs.unlink(missing_ok=True)
        onnx.save_model(model, path)
        np.savez(arrays, **given)
        answer = self._server.ask({"models": [str(path)], "feeds": [str(arrays)], "outputs": str(outputs)})
        return judged(answer, outputs, reference(model, given), self.setting.least)
