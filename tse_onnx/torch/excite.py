"""Which layers of a module are its excite: read by their names, and proved by running it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from tse_onnx.errors import UsageError
from tse_onnx.torch.module import TIMM, TORCHVISION, TiledSqueezeExcite

_SE_WITH_NORM = ("fc1", "bn", "act", "fc2", "gate")  # timm's SEModule
_KNOWN = (TIMM, _SE_WITH_NORM, TORCHVISION)

# What computes the mean, and not the gate.
_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d)
_MOST_LAYERS = 8

# The proof is in double precision, on samples whose means differ much more than these few rows are apart.
_SHAPE = (16, 5, 4)
_TOLERANCE = 1e-9


def replacement(module: nn.Module, names: Sequence[str] | None = None) -> TiledSqueezeExcite | str:
    """A module that computes what `module` does and may have tiles, made of the layers of it; or why there is none, ""
    where nothing about it is like squeeze-and-excite.

    `names` are those of its layers, in the order in which a descriptor goes through them; without these they are looked
    for. Whether they are its excite is proved on noise, with other weights on a copy. Raises `UsageError` for a name
    that no layer has.
    """
    if names is not None and (strange := next((name for name in names if not hasattr(module, name)), None)):
        raise UsageError(f"a {type(module).__name__} has no layer {strange!r}")
    if not _acts_on_descriptors(module):
        return "it has layers that do not act on a descriptor alone" if names is not None else ""
    for order in [tuple(names)] if names is not None else _orders(module):
        made = TiledSqueezeExcite.of([(name, getattr(module, name)) for name in order], None)
        if _same(module, made):
            made.train(module.training)
            made._replaced = (module,)
            return made
    known = names is not None or any(all(hasattr(module, name) for name in order) for order in _KNOWN)
    return "it has the layers of squeeze-and-excite, and computes something else" if known else ""


def _acts_on_descriptors(module: nn.Module) -> bool:
    """Whether a module is made of a few layers, none of which looks at more than one pixel at a time, and some of which
    have weights."""
    count = sum(1 for _ in module.children())
    if not 1 <= count <= _MOST_LAYERS or isinstance(module, (nn.Sequential, nn.ModuleList)):
        return False
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    return bool(layers) and all(getattr(layer, "kernel_size", (1, 1)) == (1, 1) for layer in layers)


def _channels(made: TiledSqueezeExcite) -> int:
    """How many channels the first layer with weights takes, in the order of the layers."""
    inside = (each for name in made.names for each in getattr(made, name).modules())
    first = next(each for each in inside if isinstance(each, (nn.Conv2d, nn.Linear)))
    return int(first.in_channels if isinstance(first, nn.Conv2d) else first.in_features)


def _orders(module: nn.Module) -> Iterator[tuple[str, ...]]:
    """Orders in which a descriptor may go through the layers of a module."""
    names = tuple(name for name, layer in module.named_children() if not isinstance(layer, _POOLS))
    yield from (known for known in _KNOWN if set(known) == set(names))
    yield names


def _same(module: nn.Module, made: TiledSqueezeExcite) -> bool:
    """Whether both compute the same."""
    noise = torch.Generator().manual_seed(0)
    try:
        # In one copy, so that both keep the layers that they share.
        one, other = copy.deepcopy((module, made))
        for each in (one, other):
            each.to("cpu", torch.float64).eval()
        with torch.no_grad():
            for weight in one.parameters():  # those that are there may be zeros, which make all orders the same
                fan = max(weight[0].numel(), 1) if weight.dim() > 1 else 4
                weight.copy_(torch.randn(weight.shape, generator=noise, dtype=torch.float64) / fan**0.5)
            channels, (samples, height, width) = _channels(other), _SHAPE
            x = torch.randn((samples, channels, 1, 1), generator=noise, dtype=torch.float64)
            x = x + torch.randn((samples, channels, height, width), generator=noise, dtype=torch.float64)
            wanted, got = one(x), other(x)
            return bool(wanted.shape == got.shape and (wanted - got).abs().max() <= _TOLERANCE * wanted.abs().max())
    except Exception:  # whatever a module that is something else may raise when it gets a map, or is copied
        return False
