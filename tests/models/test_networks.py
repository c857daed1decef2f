"""Networks that are made layer by layer: each streams as predicted, and has as many parameters as is published."""

import pytest

from models.networks import NETWORKS, build
from tse_onnx.costs.profile import profile
from tse_onnx.streaming.stream import stream

# Pixels on a side that leave every map of a network one at least.
SMALL = {
    "alexnet": 67, "squeezenet_1.1": 32, "tiny_darknet": 32, "mobilenet": 32, "squeeze_unet": 32, "l3unet": 64,
    "edgesegnet": 64,
}  # fmt: skip
EACH = [pytest.param(name, marks=pytest.mark.slow) if name == "alexnet" else name for name in NETWORKS]


@pytest.mark.parametrize("name", EACH)
def test_small_images_stream_as_predicted(name: str) -> None:
    certificate = stream(build(name, SMALL.get(name, 35))).certificate
    assert certificate is not None
    assert certificate.passed


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_images_of_the_published_size_stream_as_predicted(name: str) -> None:
    certificate = stream(build(name)).certificate
    assert certificate is not None
    assert certificate.passed


def convolutions(*layers: tuple[int, int, int]) -> int:
    """Parameters of square convolutions, each as the size of its kernel, its channels read and made."""
    return sum(size * size * read * made + made for size, read, made in layers)


def refined(read: int, made: int) -> int:
    return convolutions((1, read, made), (1, made, made), (3, made, made), (3, made, made))


LAYERS = {
    "l3unet": convolutions(
        (1, 48, 64), (1, 64, 64), (1, 64, 32), (3, 32, 8), (3, 8, 28), (3, 28, 56), (3, 56, 112), (3, 112, 56),
        (3, 112, 56), (3, 56, 28), (3, 56, 28), (3, 28, 8), (3, 16, 48), (3, 48, 64), *[(1, 64, 64)] * 4,
    ),
    "edgesegnet": convolutions(
        (7, 3, 13), (3, 13, 193), (1, 193, 193), (3, 193, 193),
        (1, 13, 193), (3, 193, 193), (1, 193, 193), (3, 13, 193), (1, 217, 32),
    ) + refined(193, 193) + refined(193, 217) + refined(13, 217) + refined(217, 217),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_are_those_of_the_published_layers(name: str) -> None:
    assert profile(build(name)).totals.parameters == LAYERS[name]


def test_squeeze_unet_has_the_parameters_that_are_printed() -> None:
    """2,507,035 are printed for one with a head of unknown size, and 2.6 million in the paper for more classes."""
    assert profile(build("squeeze_unet")).totals.parameters == pytest.approx(2_507_035, rel=0.002)
