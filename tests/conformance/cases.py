"""The cases of onnx's backend suite: models, and what comes out of them for what goes in."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, OptionalProto, SequenceProto, TensorProto, TypeProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")

Values = Sequence[Any]
"""Inputs or outputs in the order of the graph: arrays, lists of arrays, or None."""


@dataclass(frozen=True)
class Case:
    """One case of the suite; its name is unique, and begins with its kind."""

    name: str
    test: TestCase

    def model(self) -> bytes:
        """The model's file."""
        if self.test.model is not None:
            return bytes(self.test.model.SerializeToString())
        return self._path().read_bytes()

    def data_sets(self, model: ModelProto) -> list[tuple[Values, Values]]:
        """What goes in and what has to come out, once or several times."""
        if self.test.data_sets is not None:
            return [([_array(one) for one in given], [_array(one) for one in wanted])
                    for given, wanted in self.test.data_sets]  # fmt: skip
        path = self._path()
        if self.test.model_dir is None:  # a light model: what goes in is made, as the suite does it
            weights = {tensor.name for tensor in model.graph.initializer}
            fed = [Runner.generate_dummy_data(value) for value in model.graph.input if value.name not in weights]
            files = [path.with_name(f"{path.stem}_output_{number}.pb") for number in range(len(model.graph.output))]
            return [(fed, _read(files, [value.type for value in model.graph.output]))]
        return [
            (_read(_numbered(folder, "input"), [value.type for value in model.graph.input]),
             _read(_numbered(folder, "output"), [value.type for value in model.graph.output]))
            for folder in sorted(path.parent.glob("test_data_set*"))
        ]  # fmt: skip

    def compare(self, found: Values, wanted: Values) -> str:
        """What differs by more than the suite allows, in a line; empty if nothing does."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Runner.assert_similar_outputs(wanted, found, self.test.rtol, self.test.atol)
        except (AssertionError, TypeError, ValueError) as error:
            return " ".join(str(error).split()) or "differs"
        return ""

    def _path(self) -> Path:
        if self.test.model_dir is not None:
            return Path(self.test.model_dir) / "model.onnx"
        return Path(onnx.__file__).parent.parent / str(self.test.url)


def cases() -> list[Case]:
    """Every case that the installed onnx has, by name; making those of single nodes takes some seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [Case(f"{kind}/{test.name}", test) for kind in KINDS for test in load_model_tests(kind=kind)]
    return sorted(found, key=lambda case: case.name)


def cases_of(operators: Collection[str]) -> list[Case]:
    """The cases of some operators alone, which are made quickly."""
    from onnx.backend.test.case.node import _NodeTestCases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for operator in operators:
            import_module(f"onnx.backend.test.case.node.{operator}")
    found = [Case(f"node/{test.name}", test) for test in _NodeTestCases]
    return sorted(found, key=lambda case: case.name)


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _numbered(folder: Path, stem: str) -> list[Path]:
    return [folder / f"{stem}_{number}.pb" for number in range(len(list(folder.glob(f"{stem}_*.pb"))))]


def _read(files: Sequence[Path], types: Sequence[TypeProto]) -> Values:
    return [_value(file.read_bytes(), kind) for file, kind in zip(files, types, strict=False)]


def _value(data: bytes, kind: TypeProto) -> Any:
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(OptionalProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))
