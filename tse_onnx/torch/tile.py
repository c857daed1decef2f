"""Tiles in a network of torch: its squeeze-and-excite modules are exchanged for ones that have tiles, and back."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tse_onnx.decision.plan import Plan
from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.reasons import quoted
from tse_onnx.torch.excite import replacement
from tse_onnx.torch.module import TiledSqueezeExcite, squeeze_excites
from tse_onnx.torch.names import placed

Excites = Mapping[type[nn.Module], Sequence[str]]
"""The names of the layers of modules that are not known, by class, in the order in which a descriptor goes through."""


@dataclass(frozen=True)
class Tiles:
    """What became of the squeeze-and-excite modules of a network: `choices` of those that have one now, by name, and
    `kept`, why each other one stays as it is."""

    choices: Mapping[str, Choice]
    kept: Mapping[str, str]

    def __str__(self) -> str:
        """A line for each module."""
        lines = [f"{name}: {choice}" for name, choice in self.choices.items()]
        return "\n".join(lines + [f"{name}: stays as it is: {why}" for name, why in self.kept.items()])


def tile(
    network: nn.Module, choice: int | Choice | Plan | str | os.PathLike[str] = 7, *, excites: Excites | None = None
) -> Tiles:
    """Exchange the squeeze-and-excite modules of `network`, in place, for modules that have tiles and the same layers.

    `choice` is a number of rows, a choice for all modules, a `Plan`, or the file of one. The names of a plan are those
    of blocks in an export of the network, by either of torch's exporters, or of modules. Known are timm's
    `SqueezeExcite`, `SEModule` and `EffectiveSEModule`, torchvision's `SqueezeExcitation`, and all modules whose layers
    act one after the other; `excites` names the layers of others. What is exchanged was seen to compute the same on
    noise. Modules that have tiles already get what is asked for anew. Weights stay the same objects, so that an
    optimiser that has them goes on, and keep their names in the state.

    Raises `UsageError` where there is no such module, and where the plan names what is none.
    """
    plan = _plan(choice)
    if isinstance(network, TiledSqueezeExcite) or not isinstance(replacement(network), str):
        raise UsageError("a module cannot exchange itself: make a TiledSqueezeExcite, or tile the network around it")
    found, kept = _found(network, excites or {})
    if not found:
        raise UsageError(_none(kept))
    wanted = _choices(plan, found, kept)
    notes = {module: plan.notes.get(block, "") for block, module in placed(plan.notes, found).items()}
    choices: dict[str, Choice] = {}
    for name, made in found.items():
        asked = wanted.get(name, plan.default)
        if asked is None:
            kept[name] = notes.get(name) or "the plan keeps it"
            _put(network, name, _original(made))
        else:
            made.choice = asked
            choices[name] = asked
            _put(network, name, made)
    return Tiles(choices, kept)


def untile(network: nn.Module) -> tuple[str, ...]:
    """Put the modules that `tile` exchanged back, in place, with the layers and weights that they have by now; one that
    was never anything else gets the mean of the whole map. Returns their names."""
    found = squeeze_excites(network)
    for name, module in found.items():
        if name:
            _put(network, name, _original(module))
        else:
            module.choice = None
    return tuple(found)


@contextlib.contextmanager
def untiled(network: nn.Module) -> Iterator[None]:
    """The network as it is without tiles, to be exported; afterwards its modules have theirs again."""
    tiled = [(name, module, module.choice) for name, module in squeeze_excites(network).items()]
    try:
        untile(network)
        yield
    finally:
        for name, module, choice in tiled:
            module.choice = choice
            if name:
                _put(network, name, module)


def _plan(choice: int | Choice | Plan | str | os.PathLike[str]) -> Plan:
    if isinstance(choice, Plan):
        return choice
    if isinstance(choice, Choice):
        return Plan(choice)
    if isinstance(choice, (str, os.PathLike)):
        return Plan.load(Path(choice))
    return Plan(Tiling(choice))


def _found(network: nn.Module, excites: Excites) -> tuple[dict[str, TiledSqueezeExcite], dict[str, str]]:
    """What every squeeze-and-excite module of a network becomes, by its name, and why others do not."""
    found, refused = dict[str, TiledSqueezeExcite](), dict[str, str]()
    made: dict[nn.Module, TiledSqueezeExcite | str] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if not name or any(name.startswith(f"{other}.") for other in found):
            continue
        if module not in made:  # one that has several names stays one
            is_tiled = isinstance(module, TiledSqueezeExcite)
            made[module] = module if is_tiled else replacement(module, excites.get(type(module)))
        one = made[module]
        if isinstance(one, TiledSqueezeExcite):
            found[name] = one
        elif one:
            refused[name] = one
    return found, refused


def _choices(plan: Plan, found: Mapping[str, object], refused: Mapping[str, str]) -> dict[str, Choice | None]:
    """What the plan says of modules, by name."""
    modules = placed(plan.choices, (*found, *refused))
    wanted: dict[str, Choice | None] = {}
    for block, choice in plan.choices.items():
        if block not in modules:
            near = difflib.get_close_matches(block, found, 1, 0.3)
            hint = f"; did you mean {quoted(near[0])}?" if near else ""
            raise UsageError(f"the plan names {quoted(block)}, which is no squeeze-and-excite module{hint}")
        name = modules[block]
        if name in refused:
            raise UsageError(f"the plan names {quoted(block)}, which cannot be tiled: {refused[name]}")
        if wanted.setdefault(name, choice) != choice:
            raise UsageError(f"the plan says two things of module {quoted(name)}, which is called more than once")
    return wanted


def _none(refused: Mapping[str, str]) -> str:
    if not refused:
        return "the network has no squeeze-and-excite module: excites names the layers of one that is not known"
    name, why = next(iter(refused.items()))
    return f"the network has no squeeze-and-excite module; {quoted(name)} is none: {why}"


def _original(module: TiledSqueezeExcite) -> nn.Module:
    """The module that one was exchanged for, with the layers that it has by now."""
    if not module._replaced:
        module.choice = None
        return module
    (original,) = module._replaced
    for name in module.names:
        setattr(original, name, getattr(module, name))
    original.training = module.training
    return original


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    network.set_submodule(name, module)
