"""Training with tiles: squeeze-and-excite over tiles as a module of torch, and its way into a network and to ONNX.

    from tse_onnx.torch import export, tile

    tile(network, 7)                        # in place, with the same weights
    …                                       # train as ever
    export(network, (images,), "tiled.onnx")

It needs torch (extra `torch`). Within this folder as without, `torch` is PyTorch.
"""

from tse_onnx.installation.extras import need

need("torch")

from tse_onnx.torch.export import export, plan_of  # noqa: E402
from tse_onnx.torch.module import TIMM, TIMM_SE, TORCHVISION, TiledSqueezeExcite  # noqa: E402
from tse_onnx.torch.tile import Tiles, tile, untile, untiled  # noqa: E402

__all__ = [
    "TIMM", "TIMM_SE", "TORCHVISION", "TiledSqueezeExcite", "Tiles", "export", "plan_of", "tile", "untile", "untiled",
]  # fmt: skip
