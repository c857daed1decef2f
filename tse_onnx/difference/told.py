"""What a report tells, whichever command wrote it: figures, blocks and the machine, read from its JSON with care."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Union

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import quoted

PathLike = Union[str, "os.PathLike[str]"]
Numbers = Mapping[str, float]

BYTES, COUNT, PART, NATS, DECIBELS = "bytes", "count", "part", "nats", "decibels"
"""Units of figures."""

KEPT, REFUSED = "kept", "refused"


@dataclass(frozen=True)
class ToldBlock:
    """What became of a block, in words that all reports have in common; `bytes` that its scale holds back after that,
    and the multiply-accumulates added, None where the report has none for each block."""

    choice: str
    bytes: int | None = None
    macs_added: int | None = None


@dataclass(frozen=True)
class Told:
    """One report: the `source` that it was read from, its `schema`, the version that wrote it, and of which model.

    `verdict` and `network` have figures by name, in the order of the report; `tensors` the bytes that each holds at the
    least after the conversion; each is empty where the report has no such thing.
    """

    source: str
    schema: str
    version: str
    model: str | None
    machine: Mapping[str, Any] | None
    samples: str | None
    verdict: Numbers
    network: Numbers
    blocks: Mapping[str, ToldBlock]
    tensors: Mapping[str, int]


def read_report(path: PathLike) -> Told:
    """A report of `convert`, `report`, `tune`, `distil` or `stream` in a file. Raises `UsageError` where it is none."""
    title = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        found = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise UsageError(f"{title} is no report: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise UsageError(f"cannot read the report {title}: {error.strerror or error}") from None
    except ValueError as error:  # JSON's own, that of a path with a zero, and that of a number with thousands of digits
        raise UsageError(f"{title} is not JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{title} nests too deep") from None
    return told(found, title)


def told(found: Any, title: str) -> Told:
    """What the object of a report tells; messages call it `title`. Raises `UsageError` where it is no report."""
    report = _Part(found, title)
    schema = report.text("schema")
    reader = _READERS.get(schema)
    if reader is None:
        known = ", ".join(name.split("/")[1] for name in _READERS)
        raise UsageError(f"{title} is a {quoted(schema)}; what is compared are reports of version 1: {known}")
    return reader(report, schema)


def _conversion(report: _Part, schema: str) -> Told:
    figures = _verdict(report.part("verdict"))
    totals = report.part("totals")
    for name in ("converted", "macs_added"):
        figures[name] = totals.count(name)
    dataflow = report.part("dataflow", missing=True)
    after = None if dataflow is None else dataflow.part("after")
    blocks = {block.text("name"): _block(block) for block in report.parts("blocks")}
    return _told(report, schema, report.text("model"), figures, after, blocks)


def _tuning(report: _Part, schema: str) -> Told:
    figures, chosen, measured = _verdict(report.part("verdict")), report.part("chosen"), report.part("sensitivity")
    figures["macs_added"] = chosen.count("macs_added")
    blocks = {block.text("name"): ToldBlock(KEPT) for block in measured.parts("blocks")}
    for choice in chosen.parts("choices"):
        blocks[choice.text("block")] = ToldBlock(_choice(choice))
    return _told(report, schema, measured.text("model"), figures, None, blocks)


def _distillation(report: _Part, schema: str) -> Told:
    return _told(report, schema, None, _verdict(report.part("verdict")), None, {})


def _streaming(report: _Part, schema: str) -> Told:
    flow = report.part("dataflow")
    figures = {"network": flow.part("totals").part("min").count("bytes")}
    return _told(report, schema, report.text("model"), figures, flow, {})


_READERS: Mapping[str, Callable[[_Part, str], Told]] = {
    "tse-onnx/report/1": _conversion,
    "tse-onnx/tune/1": _tuning,
    "tse-onnx/distil/1": _distillation,
    "tse-onnx/stream/1": _streaming,
}


def _told(
    report: _Part,
    schema: str,
    model: str | None,
    verdict: Numbers,
    flow: _Part | None,
    blocks: Mapping[str, ToldBlock],
) -> Told:
    machine, samples = None, None
    if (own := report.part("verdict", missing=True)) is not None:
        said = own.part("machine", missing=True)
        machine = None if said is None else said.fields
        accuracy = own.part("accuracy", missing=True)
        samples = None if accuracy is None else accuracy.text("samples")
    network: Numbers = {}
    tensors: Mapping[str, int] = {}
    if flow is not None:
        machine = flow.part("machine").fields
        network, tensors = _network(flow), _tensors(flow)
    return Told(
        report.title, schema, report.text("tse_onnx"), model, machine, samples, verdict, network, blocks, tensors
    )


def _verdict(verdict: _Part) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("scales", "network"):
        change = verdict.part(name, missing=True)
        if change is not None:
            found[f"{name}_before"] = change.count("before")
            found[name] = change.count("after")
    accuracy = verdict.part("accuracy", missing=True)
    if accuracy is not None:
        for name in ("agreement", "kl", "sqnr_db"):
            value = accuracy.number(name)
            if value is not None:
                found[name] = value
    return found


def _network(flow: _Part) -> Numbers:
    totals, kinds = flow.part("totals"), flow.part("kinds")
    found: dict[str, float] = {}
    for name in ("asap", "no_stall"):  # the least is a figure of the verdict
        found[name] = totals.part(name).count("bytes")
    for name in kinds.fields:
        found[f"{name}_min"] = kinds.part(name).part("min").count("bytes")
    for name in ("accumulators", "weights"):
        found[name] = flow.part(name).count("bytes")
    return found


def _tensors(flow: _Part) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for tensor in flow.parts("tensors"):
        reader = tensor.fields.get("reader")
        name = tensor.text("tensor") + (f" → {reader}" if isinstance(reader, str) else "")
        found[name] = found.get(name, 0) + tensor.part("min").count("bytes")
    return found


def _block(block: _Part) -> ToldBlock:
    status = block.text("status")
    held = block.fields.get("buffer_after_bytes")
    added = block.fields.get("macs_added")
    choice = REFUSED if status == REFUSED else KEPT
    if status == "converted":
        choice = _choice(block.part("tiling"), block.fields.get("held"))
    return ToldBlock(
        choice,
        None if held is None else block.count("buffer_after_bytes"),
        None if added is None else block.count("macs_added"),
    )


def _choice(choice: _Part, held: Any = None) -> str:
    """What was asked for a block, in words."""
    fields = choice.fields
    rows, cols, step = (fields.get(name) for name in ("rows", "cols", "step"))
    words = [choice.text("squeeze")]
    if fields.get("calibrated") is True:
        words.insert(0, "calibrated")
    across = fields.get("axis") == 1
    if rows is not None and cols is not None:
        words.append(f"{rows} × {cols}")
    elif rows is not None:
        words.append(f"{rows} {'columns' if across else 'rows'}")
    elif cols is not None:
        words.append(f"{cols} columns")
    if isinstance(step, int) and step != 1:
        words.append(f"step {step}")
    words += [name for name in ("balanced", "divisors") if fields.get(name) is True]
    held = held if held is not None else fields.get("held")
    return " ".join(words) + (f", {held} held" if isinstance(held, str) else "")


class _Part:
    """An object within a report, whose fields are asked for by type; what is wrong is said with its place."""

    def __init__(self, found: Any, title: str, place: str = "") -> None:
        self.title, self.place = title, place
        if not isinstance(found, dict):
            self._refuse("", "an object")
        self.fields: Mapping[str, Any] = found

    def part(self, name: str, *, missing: bool = False) -> Any:
        """An object; with `missing`, None where it is null or not there."""
        value = self.fields.get(name)
        return None if missing and value is None else _Part(value, self.title, self._of(name))

    def parts(self, name: str) -> list[_Part]:
        """A list of objects."""
        value = self.fields.get(name)
        if not isinstance(value, list):
            self._refuse(name, "a list")
        return [_Part(one, self.title, f"{self._of(name)}[{number}]") for number, one in enumerate(value)]

    def text(self, name: str) -> str:
        """A string."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            self._refuse(name, "a string")
        return value

    def count(self, name: str) -> int:
        """A whole number from zero on."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            self._refuse(name, "a whole number from zero on")
        return value

    def number(self, name: str) -> float | None:
        """A number; None where it is null or not there."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < math.inf:
            self._refuse(name, "a number")
        return float(value)

    def _of(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place and name else self.place or name

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        place = self._of(name)
        raise UsageError(f"{self.title} is no report: {f'{place} has' if place else 'it has'} to be {wanted}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
