"""Tiles in a network: which modules get them, by which names, with which weights, and the way back."""

from __future__ import annotations

import pytest

from tse_onnx import Frozen, Plan, Tiling, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

from torch import nn  # noqa: E402

from tests.torch.networks import Body, LinearSqueezeExcite, SqueezeExcite, difference, images, network  # noqa: E402
from tse_onnx.torch import TiledSqueezeExcite, tile, untile  # noqa: E402
from tse_onnx.torch.names import block_parts, placed  # noqa: E402

MODULES = ["1.layers.1", "2.2", "3.layers.1"]
X = images()


def tiled(found):
    return {name: module for name, module in found.named_modules() if isinstance(module, TiledSqueezeExcite)}


@pytest.mark.parametrize("excite", [SqueezeExcite, LinearSqueezeExcite])
def test_in_place_with_the_same_weights_and_back(excite):
    made = network(excite)
    before, state, modules = made(X), made.state_dict(), dict(made.named_modules())
    weights = [id(weight) for weight in made.parameters()]
    found = tile(made, 3)
    assert list(found.choices) == MODULES
    assert not found.kept
    assert list(made.state_dict()) == list(state)
    made.load_state_dict(state, strict=True)
    assert [id(weight) for weight in made.parameters()] == weights
    assert difference(made(X), before) > 1e-4
    tile(made, Tiling(3, squeeze="running"))
    assert all(module.choice.squeeze == "running" for module in tiled(made).values())
    assert untile(made) == tuple(MODULES)
    assert dict(made.named_modules()) == modules
    torch.testing.assert_close(made(X), before)


def test_training_goes_on_and_comes_back():
    made = network().train()
    optimiser = torch.optim.SGD(made.parameters(), 0.1)
    tile(made, 3)
    old = made[1].layers[1].reduce.weight.clone()
    made(X).square().sum().backward()
    optimiser.step()
    assert made[1].layers[1].training
    assert not torch.equal(made[1].layers[1].reduce.weight, old)
    made[1].layers[1].expand = nn.Conv2d(4, 8, 1, bias=False)  # as a quantiser exchanges layers
    made.eval()
    untile(made)
    assert made[1].layers[1].expand.bias is None
    assert not made[1].layers[1].training


def test_modules_that_are_something_else_stay():
    class Twice(SqueezeExcite):
        def forward(self, x):
            return 2 * super().forward(x)

    class Maximum(SqueezeExcite):
        def forward(self, x):
            return x * self.gate(self.expand(self.activation(self.reduce(x.amax((2, 3), keepdim=True)))))

    class ToOneChannel(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend, self.gate = nn.Conv2d(8, 1, 1), nn.Sigmoid()

        def forward(self, x):
            return x * self.gate(self.attend(x))

    for other in (Twice(8, 4), Maximum(8, 4), ToOneChannel(), nn.Linear(8, 8)):
        assert list(tile(nn.ModuleList([other, SqueezeExcite(8, 4)]), 3).choices) == ["1"]


def test_the_names_of_layers_are_told_where_they_are_called_in_another_order():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.expand, self.activation = nn.Sigmoid(), nn.Conv2d(4, 8, 1), nn.ReLU()
            self.reduce = nn.Conv2d(8, 4, 1)

        forward = SqueezeExcite.forward

    made = nn.Sequential(nn.Conv2d(3, 8, 1), Reversed())
    with pytest.raises(UsageError, match="no squeeze-and-excite module: excites names the layers"):
        tile(made)
    order = ("reduce", "activation", "expand", "gate")
    with pytest.raises(UsageError, match="'1' is none: it has the layers"):
        tile(made, excites={Reversed: order[::-1]})
    with pytest.raises(UsageError, match="no layer 'fc'"):
        tile(made, excites={Reversed: ("fc",)})
    assert list(tile(made, excites={Reversed: order}).choices) == ["1"]


def test_a_module_with_two_names_stays_one():
    shared = SqueezeExcite(8, 4)
    made = nn.Sequential(shared, nn.Conv2d(8, 8, 3), shared)
    assert list(tile(made, 3).choices) == ["0", "2"]
    assert made[0] is made[2]
    untile(made)
    assert made[0] is made[2] is shared


PLAN = Plan(None, {"1.layers.1": Tiling(2), "2.2": None, "3.layers.1": Frozen((0.5,))}, notes={"2.2": "it is small"})


@pytest.mark.parametrize("dynamo", [True, False])
def test_plans_name_blocks_as_the_exporters_do(dynamo, tmp_path):
    """The names are those that an export of the network has."""
    import tse_onnx

    if dynamo:
        pytest.importorskip("onnxscript")
    torch.onnx.export(network(), (X,), str(tmp_path / "m.onnx"), dynamo=dynamo)
    names = [block.name for block in tse_onnx.find_blocks(tmp_path / "m.onnx") if block.status == "convertible"]
    assert dict(placed(names, MODULES)) == dict(zip(names, MODULES, strict=True))
    choices = dict(zip(names, PLAN.choices.values(), strict=True))
    (tmp_path / "plan.toml").write_text(Plan(None, choices, notes={names[1]: "it is small"}).dumps())
    made = network()
    found = tile(made, tmp_path / "plan.toml")
    assert dict(found.choices) == {"1.layers.1": Tiling(2), "3.layers.1": Frozen((0.5,))}
    assert dict(found.kept) == {"2.2": "it is small"}
    assert str(found).endswith("2.2: stays as it is: it is small")
    assert isinstance(made[2][2], SqueezeExcite)


def test_a_plan_brings_back_what_it_keeps():
    made = network()
    tile(made, 3)
    tile(made, PLAN)
    assert list(tiled(made)) == ["1.layers.1", "3.layers.1"]


def test_names_agree_where_one_network_is_a_part_of_the_other():
    names = ["a.se", "b.se"]
    assert placed(["/model/a/se", "/model/b/se_2", "/model/c/se"], names) == {"/model/a/se": "a.se",
                                                                              "/model/b/se_2": "b.se"}  # fmt: skip
    assert placed(["a.se"], ["model.a.se", "other.b.se"]) == {"a.se": "model.a.se"}
    assert placed(["a.se"], ["one.a.se", "two.a.se"]) == {}
    assert placed(["blocks.0.se"], ["_orig_mod.blocks.0.se", "_orig_mod.blocks.1.se"]) == {
        "blocks.0.se": "_orig_mod.blocks.0.se"
    }
    assert block_parts("/blocks/blocks.1/blocks.1.0/se") == ("blocks", "1", "0", "se")
    assert block_parts("/1/layers.1") == ("1", "layers", "1")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(None, {"node_mean_3": Tiling(2)}), "names 'node_mean_3', which is no squeeze-and-excite module"),
        (Plan(None, {"1.layers.2": Tiling(2)}), "did you mean '1.layers.1'"),
        (Plan(None, {"/2/2.2": Tiling(2), "/2/2.2_2": Tiling(3)}), "two things of module '2.2'"),
        (0, "at least one row"),
    ],
)
def test_what_a_plan_cannot_say(plan, said):
    made = network()
    with pytest.raises(UsageError, match=said):
        tile(made, plan)
    assert not tiled(made)


def test_a_module_cannot_exchange_itself():
    for module in (SqueezeExcite(8, 4), TiledSqueezeExcite(8, 4)):
        with pytest.raises(UsageError, match="cannot exchange itself"):
            tile(module)
    assert untile(module) == ("",)
    assert module.choice is None


def test_wrappers():
    made = nn.Sequential(nn.DataParallel(network()))
    found = tile(made, Plan(None, {"2.2": Tiling(2)}))
    assert list(found.choices) == ["0.module.2.2"]


@pytest.mark.parametrize(
    ("name", "count"), [("efficientnet_b0", 16), ("mobilenetv3_small_100", 9), ("regnety_002", 13), ("seresnet18", 8),
                        ("ese_vovnet19b_slim", 4)]
)  # fmt: skip
def test_networks_of_timm(name, count, pytorch_hub):
    check_published(pytorch_hub.timm.create_model(name), count)


@pytest.mark.parametrize(
    ("name", "count"), [("efficientnet_b0", 16), ("mobilenet_v3_small", 9), ("regnet_y_400mf", 16)]
)
def test_networks_of_torchvision(name, count, pytorch_hub):
    check_published(pytorch_hub.torchvision.models.get_model(name), count)


def check_published(made, count):
    """All modules get tiles and take the weights of the original, strictly; and back."""
    made.eval()
    x = torch.randn(1, 3, 64, 64)
    before, state = made(x), {name: value.clone() for name, value in made.state_dict().items()}
    assert len(tile(made, 2).choices) == count
    made.load_state_dict(state, strict=True)
    untile(made)
    torch.testing.assert_close(made(x), before)


def test_a_maximum_beside_the_mean_is_refused_by_name(pytorch_hub):
    layers = pytorch_hub.timm.layers
    made = nn.Sequential(layers.SEModule(16, add_maxpool=True), layers.SEModule(16, norm_layer=nn.BatchNorm2d))
    with pytest.raises(UsageError, match="names '0', which cannot be tiled: it has the layers of squeeze-and-excite"):
        tile(made, Plan(None, {"0": Tiling(2)}))
    assert list(tile(made, 2).kept) == ["0"]
    assert list(tiled(made)) == ["1"]


def test_in_a_block(pytorch_hub):
    """Built in place of timm's own, with its names."""
    module = pytorch_hub.timm.models._efficientnet_blocks.SqueezeExcite(8, rd_channels=2, act_layer=nn.SiLU)
    mine = TiledSqueezeExcite(8, 2, nn.SiLU, choice=None)
    mine.load_state_dict(module.state_dict(), strict=True)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(Body(8, mine).layers[1](x), module(x))
