"""Squeeze-and-excite over tiles, as a module of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.torch.squeeze import means, spread

TIMM = ("conv_reduce", "act1", "conv_expand", "gate")
"""The names of the layers in timm's SqueezeExcite of EfficientNet and MobileNetV3."""

TIMM_SE = ("fc1", "act", "fc2", "gate")
"""The names of the layers in timm's SEModule, which is its SqueezeExcite elsewhere."""

TORCHVISION = ("fc1", "activation", "fc2", "scale_activation")
"""The names of the layers in torchvision's SqueezeExcitation."""

Layer = Callable[[], nn.Module]


class TiledSqueezeExcite(nn.Module):
    """Gates each channel of each tile of a map by a function of the means of the tile's channels.

    Takes and gives maps [N, C, H, W]. It is made of `channels` → `squeezed` → `channels` by two 1 × 1 convolutions,
    with an `activation` and a `gate` behind them; `names` are those of these four layers, `TIMM`, `TIMM_SE` or
    `TORCHVISION`, so that the weights of a module of these load, and back. `of` makes one of layers that are there.

    `choice` says what the squeeze is: a `Tiling` (tiles of rows, columns, both, a running squeeze, the upper or the
    middle rows, calibrated or not) or a `Frozen` gate; None is the mean of the whole map. It may be set at any time.
    A `Recompute` is the mean of the whole map as well, which is what it computes; and so is a `Previous`, which is what
    it computes where the scene stands still. Raises `UsageError` for a choice of another type, and for a map that it
    does not fit.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: Layer = nn.ReLU,
        gate: Layer = nn.Sigmoid,
        *,
        choice: Choice | None = Tiling(7),  # noqa: B008  # frozen
        names: Sequence[str] = TIMM,
    ) -> None:
        super().__init__()
        if len(names) != 4:
            raise UsageError(f"the layers are four, and have four names, not {len(names)}")
        reduce, expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self._take(zip(names, (reduce, activation(), expand, gate()), strict=True), choice)

    @classmethod
    def of(cls, layers: Iterable[tuple[str, nn.Module]], choice: Choice | None) -> TiledSqueezeExcite:
        """The module whose excite is made of these layers, in this order, each known by its name."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made._take(layers, choice)
        return made

    def _take(self, layers: Iterable[tuple[str, nn.Module]], choice: Choice | None) -> None:
        names = []
        for name, layer in layers:
            self.add_module(name, layer)
            names.append(name)
        self.names = tuple(names)
        """The names of its layers, in the order in which a descriptor goes through them."""
        self._replaced: tuple[nn.Module, ...] = ()  # in a tuple, so that its weights are not there twice
        self.choice = choice

    @property
    def choice(self) -> Choice | None:
        """What the squeeze is; None for the mean of the whole map."""
        return self._choice

    @choice.setter
    def choice(self, choice: Choice | None) -> None:
        if choice is not None and not isinstance(choice, Choice):
            raise UsageError(f"a choice is a Tiling, a Frozen, another choice or None, not {choice!r}")
        self._choice = choice

    def extra_repr(self) -> str:
        """What the squeeze is."""
        return "the mean of the whole map" if self.choice is None else str(self.choice)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, excite, scale."""
        if x.dim() != 4:
            raise UsageError(f"tiles are cut of maps with four axes, [N, C, H, W], not {x.dim()}")
        if isinstance(self.choice, Frozen):
            return x * x.new_tensor(self.choice.gate).reshape(1, -1, 1, 1)
        if not isinstance(self.choice, Tiling):
            return x * self.excited(x.mean((2, 3), keepdim=True))
        cover = self.choice.cover((int(x.shape[2]), int(x.shape[3])))
        return x * spread(self.excited(means(x, cover)), cover)

    def excited(self, descriptors: Tensor) -> Tensor:
        """The gates of descriptors [N, C, T, U], of the same shape."""
        value = descriptors
        if _is_linear(self):  # which works along the last axis
            value = value.movedim(1, -1)
        for name in self.names:
            value = getattr(self, name)(value)
        return value.movedim(-1, 1) if _is_linear(self) else value


def _is_linear(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.Linear) for layer in module.modules())


def squeeze_excites(network: nn.Module) -> dict[str, TiledSqueezeExcite]:
    """Every module of a network that may have tiles, by all the names that it has."""
    modules = network.named_modules(remove_duplicate=False)
    return {name: module for name, module in modules if isinstance(module, TiledSqueezeExcite)}
