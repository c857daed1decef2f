"""The extras that users install for some commands, and what is said where one is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from tse_onnx.errors import TseError, UsageError


@dataclass(frozen=True)
class Extra:
    """An extra of setup.cfg, what it is for, and its main `library`, which is imported as `module`, when `doing` what
    needs it."""

    name: str
    purpose: str
    doing: str
    library: str
    module: str

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'tse-onnx[{self.name}]'"


EXTRAS: Mapping[str, Extra] = {
    extra.name: extra
    for extra in (
        Extra("images", "--data with a folder of images", "reading images", "pillow", "PIL"),
        Extra("plot", "--plot: pictures as .svg or .png", "drawing", "matplotlib", "matplotlib"),
        Extra("tune", "tune: tiles for a memory budget", "choosing", "scipy", "scipy"),
        Extra("dask", "tune and sensitivity with --workers or --scheduler", "other processes", "Dask", "distributed"),
        Extra("distil", "distil: a plan's numbers trained", "distilling", "torch", "torch"),
        Extra("finetune", "finetune: weights trained for tiles", "fine-tuning", "torch", "torch"),
        Extra("torch", "tse_onnx.torch: networks with tiles, trained", "training with tiles", "torch", "torch"),
        Extra("olive", "the conversion as a pass of Olive", "a pass of Olive", "olive-ai", "olive"),
        Extra("onnx-ir", "the conversion as a pass of onnx-ir", "a pass of onnx-ir", "onnx-ir", "onnx_ir"),
    )
}


def need(name: str, error: type[TseError] = UsageError) -> None:
    """Raise an `error` where an extra is missing, which says how to install it. To ask before any work starts: the
    library is looked for and not imported, which may take seconds."""
    extra = EXTRAS[name]
    try:
        found = importlib.util.find_spec(extra.module)
    except (ImportError, ValueError):  # what looks for modules, or what is there by that name, is broken
        found = None
    if found is None:
        needs = "need" if extra.doing.endswith("processes") else "needs"
        raise error(f"{extra.doing} {needs} {extra.library}: {extra.install}")
