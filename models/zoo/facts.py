"""What is known of a model of the zoo from its source network alone, in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx


@dataclass(frozen=True)
class Module:
    """A true block: its kind, and the size of its map, counted in the source network and not in the graph."""

    kind: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Facts:
    """A model: which network it is, who wrote it, and what was done to it afterwards ("" for nothing).

    `modules` are the network's blocks in order of execution. `convertible` is False where the form keeps no exact tiles,
    so that every block has to be refused with a reason.
    """

    network: str
    source: str
    exporter: str
    opset: int
    dynamic_batch: bool
    modules: tuple[Module, ...]
    tool: str = ""
    convertible: bool = True

    @property
    def name(self) -> str:
        """The name of the model's file, without its suffix."""
        words = (self.network, self.exporter.split()[0], str(self.opset), "n" if self.dynamic_batch else "1", self.tool)
        return ".".join(word.replace(" ", "-") for word in words if word)

    def derived(self, tool: str, opset: int, convertible: bool = True) -> Facts:
        """The facts of the model that `tool` makes of this one."""
        return replace(self, tool=tool, opset=opset, convertible=convertible)


def save(model: onnx.ModelProto, facts: Facts, folder: Path) -> None:
    """Write a model and its facts."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, folder / f"{facts.name}.onnx")
    (folder / f"{facts.name}.facts.json").write_text(json.dumps(asdict(facts), indent=1))
    print(f"{facts.name}: {len(facts.modules)} blocks in the network", flush=True)


def load(folder: Path) -> Iterator[tuple[Path, Facts]]:
    """Every model of a folder, with its facts."""
    for path in sorted(folder.glob("*.facts.json")):
        read = json.loads(path.read_text())
        modules = tuple(Module(**module) for module in read.pop("modules"))
        yield path.with_name(path.name.replace(".facts.json", ".onnx")), Facts(modules=modules, **read)
