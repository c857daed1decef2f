"""A network with tiles as an ONNX model: exported with its global means, and converted to what its modules say."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tse_onnx.conversion.convert import ConvertResult, convert, find_blocks
from tse_onnx.decision.decision import REFUSED
from tse_onnx.decision.plan import Plan
from tse_onnx.errors import CheckFailed, ModelError, UsageError
from tse_onnx.files.outputs import file_path
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.blocks.block import KINDS, Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.session import Session
from tse_onnx.timing import phase
from tse_onnx.torch.module import squeeze_excites
from tse_onnx.torch.names import placed
from tse_onnx.torch.tile import untiled

_log = logging.getLogger(__name__)

# Of an output's largest value, by the coarsest type of the network's weights and inputs.
_TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
_TOLERANCE = 1e-4

# What of a conversion's options says whether a block can have what it is to have.
_DECISIVE = ("input_shapes", "dynamic", "target", "upsample", "means")


def export(
    network: nn.Module,
    args: tuple[Any, ...],
    out: str | os.PathLike[str],
    *,
    dynamo: bool = True,
    kwargs: Mapping[str, Any] | None = None,
    conversion: Mapping[str, Any] | None = None,
    check: bool = True,
    **options: Any,
) -> ConvertResult:
    """Export `network`, which `tile` gave tiles or which was built of `TiledSqueezeExcite`, to `out`, as what `convert`
    makes of the export of the same network with global means.

    So `inspect` says that its blocks are tiled, and `restore` gives the network with global means. `args` and `kwargs`
    are an example of what the network takes, as `torch.onnx.export` has them; `dynamo` and `options` go there, and
    `conversion` is what `convert` is to be asked for (`target`, `input_shapes`, `certify`, …). The network is exported
    as it is in evaluation, and stays in its mode.

    What comes out is verified as by `convert`, and with `check` run on the example, and compared with what the network
    itself makes of it. Raises `UsageError` where nothing is tiled or an option makes no sense, `ModelError` where a
    module is no block of the export or the block cannot have what the module has, `CheckFailed` where the two differ:
    nothing is written then. What torch raises comes out as it is.
    """
    told, asked = file_path(out), dict(conversion or {})
    given = {"plan", "rows", "tiling", "selection", "kinds", "out", "model"} & set(asked)
    if given:
        raise UsageError(f"what becomes of each block is said by the modules: conversion takes no {sorted(given)[0]!r}")
    if not any(module.choice is not None for module in squeeze_excites(network).values()):
        raise UsageError("the network has no tiles: tse_onnx.torch.tile gives it some")
    if dynamo:
        options = {"external_data": False, "verbose": False} | options
    shapes, decisive = asked.get("input_shapes"), {name: asked[name] for name in _DECISIVE if name in asked}
    with tempfile.TemporaryDirectory(prefix="tse-onnx-") as folder, _evaluating(network):
        file = Path(folder, told.name)
        with phase(_log, "exporting"), untiled(network):
            torch.onnx.export(network, args, str(file), kwargs=kwargs, dynamo=dynamo, **options)
        plan = plan_of(network, file, input_shapes=shapes)
        draft = convert(file, plan=plan, kinds=frozenset(KINDS), verify=False, **decisive)
        for decision in draft.blocks:
            if decision.status == REFUSED and plan.choices.get(decision.block.name) is not None:
                raise ModelError(f"{quoted(decision.block.name)} cannot have what its module has: {decision.reason}")
        if check and not any(isinstance(choice, Previous) for choice in plan.choices.values()):
            with phase(_log, "comparing with torch"):
                _compare(network, args, kwargs or {}, draft, Path(folder))
        return convert(file, told, plan=plan, kinds=frozenset(KINDS), **asked)


def plan_of(network: nn.Module, model: ModelLike, *, input_shapes: Mapping[str, Any] | None = None) -> Plan:
    """The plan by which an export of `network` with global means gets what the modules of `network` have; every other
    block is kept.

    `model` is a path, an `onnx.ModelProto` or a `gs.Graph`, made with `untiled(network)`. Blocks are known by the names
    of their weights, or by their own. Raises `ModelError` where a module that has tiles is no block of the model.
    """
    source = open_model(model)
    blocks = [block for block in find_blocks(source.model, input_shapes=input_shapes, kinds=frozenset(KINDS))
              if isinstance(block, Convertible)]  # fmt: skip
    modules = squeeze_excites(network)
    by_name = placed((block.name for block in blocks), modules)
    choices: dict[str, Choice | None] = {}
    served = set[str]()
    for block in blocks:
        read = [name for step in block.path for name in source.model.graph.node[step.position].input]
        owners = {name for name in modules if any(value.startswith(f"{name}.") for value in read)}
        name = max(owners, key=len) if owners and not block.scope else by_name.get(block.name)
        if name is not None:
            choices[block.name] = modules[name].choice
            served.add(name)
    same = {id(modules[name]) for name in served}
    for name, module in modules.items():
        if module.choice is not None and id(module) not in same:
            raise ModelError(
                f"module {quoted(name)} is no block of the model: it is not called, or an optimiser or other weights "
                "made it one that is not known as its own"
            )
    return Plan(None, choices)


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in network.modules()}
    try:
        network.eval()
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


def _compare(
    network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], made: ConvertResult, folder: Path
) -> None:
    """Run both on the example. Raises `CheckFailed` where they differ, `UsageError` where the example is not what the
    model takes."""
    with torch.no_grad():
        wanted = [value for value in tree_leaves(network(*args, **kwargs)) if isinstance(value, Tensor)]
    given = [value for value in tree_leaves((args, dict(kwargs))) if isinstance(value, Tensor)]
    initial = {tensor.name for tensor in made.model.graph.initializer}
    names = [value.name for value in made.model.graph.input if value.name not in initial]
    if len(names) != len(given):
        text = f"the model has {len(names)} inputs where the example has {len(given)} tensors"
        raise UsageError(f"{text}, so that they cannot be compared: check=False leaves that out")
    session = Session(made.model, folder, title="the converted model", way_out="")
    feed = {name: _array(value) for name, value in zip(names, given, strict=True)}
    got = list(session.run(feed, session.outputs).values())
    if [value.shape for value in got] != [tuple(value.shape) for value in wanted]:
        raise CheckFailed("the converted model has other outputs than the network in torch")
    types = {weight.dtype for weight in (*network.parameters(), *given)}
    tolerance = max([_TOLERANCES.get(kind, _TOLERANCE) for kind in types], default=_TOLERANCE)
    for name, mine, torchs in zip(session.outputs, got, map(_array, wanted), strict=True):
        difference = np.abs(mine.astype(np.float64) - torchs.astype(np.float64)).max(initial=0.0)
        largest = np.abs(torchs.astype(np.float64)).max(initial=0.0)
        if not difference <= tolerance * max(largest, np.finfo(np.float32).tiny):
            raise CheckFailed(
                f"output {quoted(name)} of the converted model differs from that of the network in torch by "
                f"{difference:.3g}, where its largest value is {largest:.3g}"
            )


def _array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    array: np.ndarray = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array
