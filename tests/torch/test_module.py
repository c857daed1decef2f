"""The module: its numbers are those of the converted model, its gradients those of its numbers, and torch takes it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tse_onnx import Calibration, Frozen, Previous, Recompute, Tiling, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the older exporter

from tests.torch.networks import SqueezeExcite, difference, outputs  # noqa: E402
from tse_onnx.torch import TIMM, TIMM_SE, TORCHVISION, TiledSqueezeExcite, export  # noqa: E402
from tse_onnx.torch.squeeze import means, spread  # noqa: E402

CHANNELS = 8
NUMBERS = np.random.default_rng(0)


def calibrated(rows, height):
    """A running squeeze with numbers for a map of this height; the last descriptor stays what it is."""
    many = height - rows + 1
    slopes = (*NUMBERS.uniform(0.5, 1.5, many - 1), 1.0)
    offsets = (*map(tuple, NUMBERS.normal(size=(many - 1, CHANNELS))), (0.0,) * CHANNELS)
    return Tiling(rows, squeeze="running", calibration=Calibration(slopes, offsets))


CHOICES = [
    *(Tiling(rows) for rows in (1, 2, 3, 7, 13, 99)),
    *(Tiling(None, cols=cols) for cols in (1, 4, 9)),
    Tiling(3, cols=4),
    Tiling(2, cols=2),
    Tiling(4, axis=1),
    Tiling(5, balanced=True),
    Tiling(5, cols=4, balanced=True),
    Tiling(5, divisors=True),
    *(Tiling(rows, squeeze="running", step=step) for rows in (1, 3, 5) for step in (1, 2, 3, 5) if step <= rows),
    Tiling(3, squeeze="running", axis=1),
    Tiling(4, squeeze="running", step=3, axis=1),
    *(Tiling(rows, squeeze=squeeze) for rows in (3, 4) for squeeze in ("upper", "middle")),
    calibrated(3, 13),
    Frozen((0.7,)),
    Frozen(tuple(NUMBERS.uniform(size=CHANNELS))),
    Recompute(),
]
SIZES = [(13, 9), (8, 16)]


def made(choice, **options):
    torch.manual_seed(0)
    return TiledSqueezeExcite(CHANNELS, 4, torch.nn.SiLU, choice=choice, **options)


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("choice", [each for each in CHOICES if isinstance(each, Tiling)], ids=str)
def test_every_pixel_gets_the_mean_of_its_piece(choice, size):
    """The pieces say of each descriptor which region it is the mean of, and which its gate scales."""
    if choice.calibration is not None:
        pytest.skip("its descriptors are no means: held to the converted model")
    cover, x = choice.cover(size), torch.randn(2, 3, *size, dtype=torch.float64)
    wanted = torch.full_like(x, torch.nan)
    for source, target in cover.pieces():
        wanted[(..., *target)] = x[(..., *source)].mean((2, 3), keepdim=True)
    torch.testing.assert_close(spread(means(x, cover), cover).expand_as(x), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_converted_model_computes_the_same(choice, size, tmp_path):
    if isinstance(choice, Tiling) and choice.calibration is not None and size[0] != 13:
        pytest.skip("calibrated for another size")
    torch.manual_seed(1)
    # A map that is made by the network: a copy of it can be recomputed.
    network = torch.nn.Sequential(torch.nn.Conv2d(2, CHANNELS, 1), made(choice)).eval()
    x = torch.randn(2, 2, *size) + torch.linspace(-2, 2, size[0])[:, None]
    result = export(network, (x,), tmp_path / "m.onnx", dynamo=False, check=False)
    (block,) = result.blocks
    covered = isinstance(choice, Tiling) and choice.cover(size).covers_map
    assert block.status == ("unchanged" if covered else "converted")
    assert difference(network(x), outputs(tmp_path / "m.onnx", x)) < 1e-6


def test_a_tile_makes_a_difference():
    """Else the comparisons above would hold of the mean of the whole map, too."""
    x = torch.randn(2, CHANNELS, 13, 9) + torch.linspace(-2, 2, 13)[:, None]
    whole, found = made(None)(x), []
    for choice in CHOICES:
        if choice not in (Tiling(13), Tiling(99), Recompute(), Tiling(None, cols=9)):
            found.append(made(choice)(x))
            assert difference(found[-1], whole) > 1e-3, choice


@pytest.mark.parametrize("choice", [None, *CHOICES], ids=str)
def test_gradients(choice):
    if choice in (Tiling(13), Tiling(99)):
        pytest.skip("the mean of the whole map")
    module = made(choice).double()
    names, weights = zip(*module.named_parameters(), strict=True)
    weights = [weight.detach().clone().requires_grad_() for weight in weights]
    x = torch.randn(1, CHANNELS, 13, 9, dtype=torch.float64, requires_grad=True)

    def run(x, *weights):
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *weights), fast_mode=True)


SOME = [None, Tiling(3), Tiling(2, cols=3), Tiling(3, squeeze="running"), calibrated(3, 13), Tiling(3, squeeze="upper"),
        Frozen((0.7,))]  # fmt: skip


@pytest.mark.parametrize("choice", SOME, ids=str)
def test_compiled_in_one_piece(choice):
    torch._dynamo.reset()
    module = made(choice)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for size in [(13, 9), (13, 12)]:
        x = torch.randn(2, CHANNELS, *size)
        torch.testing.assert_close(compiled(x), module(x))


@pytest.mark.parametrize("choice", SOME, ids=str)
def test_exported_by_torch_for_any_batch(choice):
    module = made(choice).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(module, (torch.randn(2, CHANNELS, 13, 9),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, CHANNELS, 13, 9)
    torch.testing.assert_close(program.module()(x), module(x))


@pytest.mark.parametrize("choice", SOME, ids=str)
def test_autocast(choice):
    module, x = made(choice), torch.randn(2, CHANNELS, 13, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        made_half = module(x.bfloat16())
    assert made_half.dtype == torch.bfloat16
    made_half.float().square().mean().backward()
    assert torch.isfinite(x.grad).all()
    assert difference(made_half.float(), module(x)) < 0.02


def test_half_precision_keeps_what_a_row_adds():
    """Means of up to 2048 rows are as near as bfloat16 has numbers below one; sums and counts in it are twice as far off."""
    cover = Tiling(1, squeeze="running").cover((2048, 1))
    x = torch.rand(1, 4, 2048, 1, generator=torch.Generator().manual_seed(0)).bfloat16()
    error = (means(x, cover).double() - means(x.double(), cover)).abs().max()
    assert error <= 2**-9


def test_previous_is_a_scene_that_stands_still():
    x = torch.randn(2, CHANNELS, 13, 9)
    torch.testing.assert_close(made(Previous())(x), made(None)(x))


def test_linear_layers_and_norms_work_on_descriptors():
    """A norm in training has the statistics of all descriptors."""
    layers = {"fc1": torch.nn.Conv2d(8, 4, 1), "bn": torch.nn.BatchNorm2d(4), "fc2": torch.nn.Conv2d(4, 8, 1)}
    module = TiledSqueezeExcite.of(layers.items(), Tiling(2))
    x = torch.randn(3, 8, 6, 5)
    strips = torch.cat([x[:, :, row : row + 2].mean((2, 3), keepdim=True) for row in (0, 2, 4)], 2)
    excited = copy.deepcopy(torch.nn.Sequential(*layers.values()))(strips)
    torch.testing.assert_close(module(x), x * excited.repeat_interleave(2, 2))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (TIMM, {"conv_reduce.weight", "conv_reduce.bias", "conv_expand.weight", "conv_expand.bias"}),
        (TIMM_SE, {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}),
        (TORCHVISION, {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}),
    ],
)
def test_names_of_weights(names, wanted):
    assert set(made(Tiling(7), names=names).state_dict()) == wanted


def test_a_copy_has_its_own_weights():
    module = made(Tiling(3))
    twin = copy.deepcopy(module)
    assert twin.choice == module.choice
    with torch.no_grad():
        twin.conv_reduce.weight.zero_()
    assert module.conv_reduce.weight.abs().sum() > 0


def test_it_says_what_it_does():
    assert "tiles of 3 rows" in repr(made(Tiling(3)))
    assert "the mean of the whole map" in repr(made(None))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: made(3), "a choice is a Tiling"),
        (lambda: made(Tiling(3), names=("fc1", "fc2")), "four names, not 2"),
        (lambda: made(Tiling(3))(torch.randn(2, CHANNELS, 5)), "four axes"),
        (lambda: made(calibrated(3, 13))(torch.randn(2, CHANNELS, 12, 9)), "11 descriptors"),
        (lambda: made(Tiling(3, axis=2))(torch.randn(2, CHANNELS, 12, 9)), "cannot take"),
    ],
)
def test_what_makes_no_sense(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_modules_written_by_hand_compute_the_same_globally():
    by_hand = SqueezeExcite(CHANNELS, 4)
    module = TiledSqueezeExcite(CHANNELS, 4, names=("reduce", "activation", "expand", "gate"), choice=None)
    module.load_state_dict(by_hand.state_dict())
    x = torch.randn(2, CHANNELS, 6, 5)
    torch.testing.assert_close(module(x), by_hand(x))
