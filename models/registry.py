"""What is known of each bundled model: `catalogue.json`, written by the scripts that make the models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "catalogue.json"


@dataclass(frozen=True)
class Entry:
    """One bundled model; the SE facts are those of the torch network, not of the exported graph."""

    name: str
    network: str
    source: str
    exporter: str
    opset: int
    input_shape: tuple[int, int, int]
    dynamic_batch: bool
    se_modules: int
    """Number of SE modules found by their class among `named_modules`."""
    se_inputs: tuple[tuple[int, int, int], ...]
    """Input shape (C, H, W) of each SE module in the order of execution."""

    @property
    def path(self) -> Path:
        """The stored file, its weights not filled in."""
        return FOLDER / f"{self.name}.onnx"


def catalogue() -> tuple[Entry, ...]:
    """Every bundled model, in the order of their names."""
    if not CATALOGUE.exists():
        return ()
    return tuple(_entry(fields) for fields in json.loads(CATALOGUE.read_text()))


def record(entry: Entry) -> None:
    """Write `entry` into the catalogue, in place of an earlier one of that name."""
    others = [other for other in catalogue() if other.name != entry.name]
    entries = sorted([*others, entry], key=lambda each: each.name)
    rows = ",\n".join(json.dumps(asdict(each)) for each in entries)
    CATALOGUE.write_text(f"[\n{rows}\n]\n")


def _entry(fields: dict[str, Any]) -> Entry:
    channels, height, width = fields.pop("input_shape")
    se_inputs = tuple((c, h, w) for c, h, w in fields.pop("se_inputs"))
    return Entry(input_shape=(channels, height, width), se_inputs=se_inputs, **fields)
