"""Networks of timm and torchvision, and relatives, by both exporters of torch; some by dynamo without its optimiser as well.

Needs torch, timm, torchvision and onnxscript as named in `models/export.py`, and effdet as named in `relatives.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor, nn

from models.torch_networks import declare_torchvision_operators, to_onnx
from models.zoo.facts import Facts, Module, save

declare_torchvision_operators()

import timm  # noqa: E402
import torchvision  # noqa: E402

from models.zoo.relatives import RELATIVES  # noqa: E402

# The kind of block that a class is. Their subclasses and namesakes count as well; see `kind_of` for the exceptions.
CLASSES = {
    "SqueezeExcite": "se",  # timm: EfficientNet, MobileNetV3, GhostNet and others
    "SEModule": "se",  # timm: SE-ResNet, RegNet, NFNet, CoAtNet, and another one in its legacy SENet
    "SqueezeExciteCl": "se",
    "SqueezeExcitation": "se",  # torchvision
    "SEWithNorm": "se",
    "EffectiveSEModule": "ese",
    "EseModule": "ese",
    "EcaModule": "eca",
    "SEModule1d": "se",  # ECAPA-TDNN
    "SplitAttn": "se",  # ResNeSt with a single branch; with more of them it is split attention
    "SelectiveKernelAttn": "split",
    "SimplifiedChannelAttention": "ese",  # NAFNet
    "ChannelAttn": "cbam",
    "GlobalResponseNorm": "grn",  # ConvNeXt-V2
}
TIMM = (
    # name, size
    ("efficientnet_b0", 128), ("tf_efficientnet_b0", 128), ("tf_efficientnetv2_b0", 128), ("efficientnetv2_rw_t", 128),
    ("mobilenetv3_small_100", 128), ("mobilenetv3_large_100", 128), ("tf_mobilenetv3_small_075", 128),
    ("mobilenetv3_rw", 128), ("regnety_002", 128), ("regnety_008_tv", 128), ("regnetz_b16", 128), ("regnetz_c16", 128),
    ("seresnet18", 128), ("seresnet50", 128), ("seresnext26d_32x4d", 128), ("seresnextaa101d_32x8d", 96),
    ("legacy_seresnet18", 128), ("legacy_seresnext26_32x4d", 128), ("legacy_senet154", 96), ("ghostnet_100", 128),
    ("ghostnetv2_100", 128), ("ghostnetv3_100", 128), ("repghostnet_100", 128), ("fbnetv3_b", 128), ("lcnet_100", 128),
    ("tinynet_a", 128), ("tinynet_e", 128), ("semnasnet_100", 128), ("eca_nfnet_l0", 128), ("nfnet_f0", 128),
    ("dm_nfnet_f0", 128), ("nf_seresnet26", 128), ("nf_ecaresnet26", 128), ("coatnet_nano_rw_224", 224),
    ("maxvit_pico_rw_256", 256), ("hardcorenas_a", 128), ("hardcorenas_f", 128), ("ese_vovnet19b_dw", 128),
    ("ese_vovnet39b_evos", 128), ("ecaresnet26t", 128), ("eca_vovnet39b", 128), ("eca_resnext26ts", 128),
    ("mixnet_s", 128), ("mixnet_l", 128), ("rexnet_100", 128), ("rexnetr_100", 128), ("mobileone_s4", 128),
    ("repvgg_d2se", 96), ("tresnet_m", 128), ("cs3se_edgenet_x", 128), ("sedarknet21", 128), ("seresnext26ts", 128),
    ("efficientvit_m0", 224), ("repvit_m1", 128), ("fastvit_ma36", 128), ("rdnet_tiny", 128), ("hgnet_tiny", 128),
    ("lcnetv2_base", 128), ("resnest50d_1s4x24d", 128), ("test_efficientnet", 96), ("test_efficientnet_gn", 96),
    ("sehalonet33ts", 128), ("xcit_nano_12_p16_224", 224), ("inception_next_atto", 128),
    # Attention of other kinds, and none.
    ("skresnet18", 128), ("resnest14d", 128), ("gcresnext26ts", 128), ("convnextv2_atto", 128), ("mobilenetv2_100", 128),
    ("gcresnet33ts", 128), ("bat_resnext26ts", 256), ("resnet18", 128), ("hgnetv2_b0", 128),
)  # fmt: skip
TORCHVISION = (
    ("efficientnet_b0", 128), ("efficientnet_v2_s", 128), ("mobilenet_v3_small", 128), ("mobilenet_v3_large", 128),
    ("regnet_y_400mf", 128), ("regnet_y_1_6gf", 128), ("maxvit_t", 224), ("lraspp_mobilenet_v3_large", 128),
)  # fmt: skip
# Those that dynamo exports a second time as they come, without its optimiser.
UNOPTIMISED = frozenset(
    {
        "efficientnet_b0", "mobilenetv3_small_100", "seresnet18", "regnety_002", "ghostnet_100", "ese_vovnet19b_dw",
        "ecaresnet26t", "eca_nfnet_l0", "convnextv2_atto", "skresnet18", "resnest14d", "mobilenet_v3_small_tv",
        "mobileone_s4", "repvit_m1", "efficientvit_m0", *RELATIVES,
    }
)  # fmt: skip
TORCHSCRIPT_OPSETS = (17, 11, 18, 13, 20, 9, 16)
DYNAMO_OPSETS = (18, 20, 23, 21, 22)


@dataclass(frozen=True)
class Network:
    """A network to make: the package and the name that it has there, and the shape of its input without the batch."""

    package: str
    model: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"{self.model}_tv" if self.package == "torchvision" else self.model


def kind_of(module: nn.Module) -> str:
    """The kind of block that a module is; "" for any other module."""
    kind = CLASSES.get(type(module).__name__, "")
    if getattr(module, "add_maxpool", False):
        return ""  # squeezes by a maximum as well
    return "split" if kind and getattr(module, "radix", 1) > 1 else kind


def modules_of(network: nn.Module, images: Tensor) -> tuple[Module, ...]:
    """The network's blocks in order of execution, by the inputs that their modules get."""
    found: list[Module] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes = list(inputs[0].shape[1:])
        if type(module).__name__ == "SqueezeExciteCl" or getattr(module, "channel_dim", 1) == -1:
            sizes = [sizes[-1], *sizes[:-1]]
        if type(module).__name__ == "SplitAttn":  # squeezes the result of its own convolution
            sizes[0] = module.fc2.out_channels // module.radix
        if type(module).__name__ == "SelectiveKernelAttn":  # gets its branches along an axis of their own
            sizes = sizes[1:]
        found.append(Module(kind_of(module), *(*sizes, 0)[:3]))

    handles = [module.register_forward_pre_hook(note) for module in network.modules() if kind_of(module)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return tuple(found)


def build(network: Network) -> nn.Module:
    """The torch network with random weights, its normalisations set by random images, in evaluation mode."""
    made: nn.Module
    if network.model in RELATIVES:
        made = RELATIVES[network.model].build()
    elif network.package == "timm":
        made = timm.create_model(network.model, pretrained=False)
    else:
        downloads = {"weights_backbone": None} if network.model.startswith("lraspp") else {}
        made = torchvision.models.get_model(network.model, weights=None, **downloads)
    if network.model.startswith("lraspp"):
        made = _First(made)
    generator = torch.Generator().manual_seed(0)
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
        if kind_of(module) == "grn":  # begins as the identity, which proves nothing
            nn.init.normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    with torch.no_grad():
        made.train()
        made(torch.randn(4, *network.shape, generator=generator))
    return made.eval()


class _First(nn.Module):
    """A network that returns a dictionary, with its first entry as the output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return next(iter(self.network(images).values()))


def make(folder: Path, names: Sequence[str]) -> None:
    """Export every network, or the named ones, by both exporters; opsets and batches take turns."""
    networks = [Network("timm", name, (3, size, size)) for name, size in TIMM]
    networks += [Network("torchvision", name, (3, size, size)) for name, size in TORCHVISION]
    networks += [Network(relative.package, name, relative.shape) for name, relative in RELATIVES.items()]
    turns = zip(networks, cycle(TORCHSCRIPT_OPSETS), cycle(DYNAMO_OPSETS), cycle((False, True)), strict=False)
    for network, torchscript, dynamo, dynamic in turns:
        if names and network.name not in names:
            continue
        try:
            built = build(network)
        except Exception as error:
            print(f"{network.name}: cannot be built: {_first_line(error)}", flush=True)
            continue
        ways = [("torchscript", torchscript, dynamic), ("dynamo", dynamo, not dynamic)]
        ways += [("dynamo-unoptimised", dynamo, dynamic)] if network.name in UNOPTIMISED else []
        for exporter, opset, dynamic_batch in ways:
            images = torch.randn(2 if dynamic_batch else 1, *network.shape)
            try:
                modules = modules_of(built, images)
                model = to_onnx(built, images, exporter, opset, dynamic_batch)
            except Exception as error:
                print(f"{network.name}: {exporter} {opset} fails: {_first_line(error)}", flush=True)
                continue
            written = next(entry.version for entry in model.opset_import if entry.domain == "")
            source = f"{network.package} {version(network.package).split('+')[0]}"
            title = f"{exporter} (torch {torch.__version__.split('+')[0]})"
            save(model, Facts(network.name, source, title, written, dynamic_batch, modules), folder)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]
