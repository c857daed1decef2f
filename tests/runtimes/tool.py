"""A tool that takes ONNX models, as data. This file is imported in the tool's own environment, which has little else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Arrays = Mapping[str, Any]
Run = Callable[[Arrays], Sequence[Any]]


class Untranslated(Exception):
    """What stands between ONNX and the tool in this house does not know the model; the tool has not seen it."""


@dataclass(frozen=True)
class Loaded:
    """A model in a tool. `run` takes arrays by the names of the model's inputs and returns its outputs in their order;
    None where the tool only compiles. `operators` is how many it made of the model, None where it does not say."""

    run: Run | None
    operators: int | None = None


@dataclass(frozen=True)
class Tool:
    """A tool with its version.

    * `requirements`: what pip installs, `packages`: what npm does.
    * `load`: read a model; whatever it raises is a refusal.
    * `target`: the profile of `tse-onnx targets` that conversions for it are to use, if there is one.
    * `quick`: it runs networks fast enough for latencies to say something.
    * `settings`: where a tool is slow or narrow, those that it is tried in.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    load: Callable[[Path], Loaded]
    target: str | None = None
    packages: tuple[str, ...] = ()
    quick: bool = False
    settings: tuple[str, ...] = ()
