"""Networks with tiles as ONNX models: both exporters, what the tool says of them, and the way back."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest

import tse_onnx
from tse_onnx import CheckFailed, ModelError, Plan, Previous, Recompute, Tiling, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

from torch import nn  # noqa: E402

from tests.torch.networks import LinearSqueezeExcite, SqueezeExcite, difference, images, lively, network, outputs  # noqa: E402
from tse_onnx.torch import export, plan_of, tile, untile, untiled  # noqa: E402

X = images()
EXPORTERS = [pytest.param(False, id="torchscript"), pytest.param(True, id="dynamo")]


@pytest.fixture(params=EXPORTERS)
def dynamo(request):
    if request.param:
        pytest.importorskip("onnxscript")
    return request.param


@pytest.mark.parametrize("excite", [SqueezeExcite, LinearSqueezeExcite])
def test_there_and_back(excite, dynamo, tmp_path):
    made = network(excite)
    before = made(X)
    tile(made, Plan(Tiling(3), {"2.2": Tiling(2, squeeze="running"), "3.layers.1": None}))
    result = export(made, (X,), tmp_path / "m.onnx", dynamo=dynamo)
    assert [str(block.choice) for block in result.blocks if block.status == "converted"] == [
        "tiles of 3 rows", "a running squeeze of 2 rows, step 1"
    ]  # fmt: skip
    assert difference(made(X), outputs(tmp_path / "m.onnx", X)) < 1e-6
    assert difference(made(X), before) > 1e-4
    statuses = [block.status for block in tse_onnx.inspect(tmp_path / "m.onnx").blocks]
    assert statuses == ["tiled", "tiled", "convertible"]
    (held, global_held) = (tse_onnx.stream(each).totals["min"].bytes
                           for each in (tmp_path / "m.onnx", tse_onnx.restore(tmp_path / "m.onnx").model))  # fmt: skip
    assert held < global_held
    back = tse_onnx.restore(tmp_path / "m.onnx")
    assert back.exact
    assert difference(before, outputs(back.model, X)) < 1e-6


def test_what_is_restored_is_what_torch_exports(tmp_path, dynamo):
    made = network()
    torch.onnx.export(made, (X,), str(tmp_path / "plain.onnx"), dynamo=dynamo)
    tile(made, 3)
    export(made, (X,), tmp_path / "m.onnx", dynamo=dynamo)
    plain = tse_onnx.find_blocks(tmp_path / "plain.onnx")
    back = tse_onnx.restore(tmp_path / "m.onnx").model
    assert [block.name for block in tse_onnx.find_blocks(back)] == [block.name for block in plain]


@pytest.mark.parametrize("batch", [True, False])
def test_efficientnet_b0(dynamo, tmp_path, pytorch_hub, batch):
    torch.manual_seed(0)
    made = pytorch_hub.timm.create_model("efficientnet_b0").train()
    x = images(2, 64, 64)
    with torch.no_grad():
        made(x)  # norms with statistics, so that an image makes a difference
    before = lively(made)(x)
    assert len(tile(made, 1).choices) == 16
    # Both exporters have their own words for a batch of any size.
    options = {"dynamic_shapes": ({0: "batch"},)} if dynamo else {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    file = tmp_path / "m.onnx"
    export(made, (x,), file, dynamo=dynamo, **(options if batch else {}))
    blocks = tse_onnx.inspect(file).blocks
    # Two of its maps, of 2 × 2 pixels at this size, are cut as well; the last pool is that of the classifier.
    assert [block.status for block in blocks] == ["tiled"] * 16 + ["refused"]
    assert difference(made(x), outputs(file, x)) < 1e-4
    assert difference(made(x), before) > 1e-3
    back = tse_onnx.restore(file)
    assert back.exact
    assert len(back.blocks) == 16
    assert difference(before, outputs(back.model, x)) < 1e-4
    if batch:
        assert outputs(back.model, x[:1]).shape == (1, 1000)


@pytest.mark.parametrize(("name", "count"), [("ese_vovnet19b_slim", 4), ("seresnet18", 8), ("regnety_002", 13)])
def test_networks_of_other_modules(name, count, dynamo, tmp_path, pytorch_hub):
    """Effective modules, which are no blocks unless asked for, and `SEModule`."""
    torch.manual_seed(0)
    # A branch whose last norm begins at zero would hide what its module does.
    options = {} if name.startswith("ese") else {"zero_init_last": False}
    made, x = pytorch_hub.timm.create_model(name, **options).train(), images(2, 64, 64)
    with torch.no_grad():
        made(x)
    before = made.eval()(x)
    assert len(tile(made, 1).choices) == count
    export(made, (x,), tmp_path / "m.onnx", dynamo=dynamo)
    statuses = [block.status for block in tse_onnx.inspect(tmp_path / "m.onnx").blocks]
    assert statuses.count("tiled") == count
    assert difference(made(x), before) > 1e-2
    assert difference(made(x), outputs(tmp_path / "m.onnx", x)) < 1e-5
    back = tse_onnx.restore(tmp_path / "m.onnx")
    assert back.exact
    assert difference(before, outputs(back.model, x)) < 1e-5


def test_a_pipeline_of_ones_own(tmp_path):
    """Its parts: the export with global means, the plan of it, and a conversion."""
    made = network()
    tile(made, 3)
    with untiled(made):
        torch.onnx.export(made, (X,), str(tmp_path / "m.onnx"), dynamo=False)
    plan = plan_of(made, tmp_path / "m.onnx")
    assert plan == Plan(None, {"/1/layers.1": Tiling(3), "/2/2.2": Tiling(3), "/3/layers.1": Tiling(3)})
    converted = tse_onnx.convert(tmp_path / "m.onnx", plan=plan)
    assert difference(made(X), outputs(converted.model, X)) < 1e-6


@pytest.mark.parametrize(
    "choice", [Tiling(3), Tiling(2, cols=3), Tiling(3, squeeze="running"), Tiling(3, squeeze="middle")]
)
def test_an_export_by_torch_alone_computes_the_same(choice, dynamo, tmp_path):
    """It is no conversion, and holds no record."""
    made = network()
    tile(made, choice)
    torch.onnx.export(made, (X,), str(tmp_path / "m.onnx"), dynamo=dynamo)
    assert difference(made(X), outputs(tmp_path / "m.onnx", X)) < 1e-6
    assert not [block for block in tse_onnx.find_blocks(tmp_path / "m.onnx") if block.status == "tiled"]


def test_a_module_that_is_called_twice_is_two_blocks(tmp_path):
    excite = SqueezeExcite(8, 4)
    made = nn.Sequential(nn.Conv2d(3, 8, 1), excite, nn.Conv2d(8, 8, 3), excite).eval()
    tile(made, 3)
    export(made, (X,), tmp_path / "m.onnx", dynamo=False)
    assert [block.status for block in tse_onnx.find_blocks(tmp_path / "m.onnx")] == ["tiled", "tiled"]


def test_choices_that_compute_the_mean_of_the_whole_map(tmp_path):
    made = network()
    tile(made, Plan(None, {"1.layers.1": Recompute(), "2.2": Previous()}))
    result = export(made, (X,), tmp_path / "m.onnx", dynamo=False)
    assert [block.status for block in result.blocks] == ["converted", "converted", "unchanged"]


def test_the_mode_stays_and_the_tiles_do(tmp_path):
    made = network().train()
    tile(made, 3)
    made[2].eval()
    export(made, (X,), tmp_path / "m.onnx", dynamo=False)
    assert made.training
    assert not made[2].training
    assert made[1].layers[1].choice == Tiling(3)


def test_options_of_torch_and_of_the_conversion(tmp_path):
    made = network()
    tile(made, 3)
    export(made, (X,), tmp_path / "m.onnx", dynamo=False, input_names=["images"], opset_version=13,
           conversion={"upsample": "gather", "certify": True})  # fmt: skip
    (opset,) = onnx.load(tmp_path / "m.onnx").opset_import
    assert opset.version == 13
    with pytest.raises(UsageError, match="conversion takes no 'plan'"):
        export(made, (X,), tmp_path / "n.onnx", conversion={"plan": Plan()})
    assert not (tmp_path / "n.onnx").exists()


def test_nothing_is_tiled(tmp_path):
    made = network()
    with pytest.raises(UsageError, match="the network has no tiles"):
        export(made, (X,), tmp_path / "m.onnx")
    tile(made, 3)
    untile(made)
    with pytest.raises(UsageError, match="the network has no tiles"):
        export(made, (X,), tmp_path / "m.onnx")


def test_a_module_that_is_not_called(tmp_path):
    class Forgets(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.spare = network(), SqueezeExcite(8, 4)

        def forward(self, x):
            return self.body(x)

    made = Forgets()
    tile(made, 3)
    with pytest.raises(ModelError, match="module 'spare' is no block of the model"):
        export(made, (X,), tmp_path / "m.onnx", dynamo=False)
    assert not list(tmp_path.iterdir())


SIZES = {"input_names": ["x"], "dynamic_axes": {"x": {2: "height"}}}
DYNAMIC = {"input_shapes": {"x": (2, 3, 14, 10)}, "dynamic": True}


def test_maps_of_any_height(tmp_path):
    made = _Convolutions(network())
    tile(made, 3)
    export(made, (X,), tmp_path / "m.onnx", dynamo=False, conversion=DYNAMIC, **SIZES)
    x = images(2, 22)
    assert difference(made(x), outputs(tmp_path / "m.onnx", x)) < 1e-6


def test_a_choice_that_the_conversion_refuses(tmp_path):
    made = _Convolutions(network())
    tile(made, Tiling(2, squeeze="running"))
    with pytest.raises(
        ModelError, match="cannot have what its module has: a map of unknown size can be cut into strips"
    ):
        export(made, (X,), tmp_path / "m.onnx", dynamo=False, conversion=DYNAMIC, **SIZES)
    assert not list(tmp_path.iterdir())


class _Convolutions(nn.Module):
    """A network without its head, on maps of any size."""

    def __init__(self, whole):
        super().__init__()
        self.body = whole[:-2]

    def forward(self, x):
        return self.body(x)


def test_a_network_that_computes_something_else_fails(tmp_path, monkeypatch):
    """What torch trained has to be what is deployed."""
    from tse_onnx.torch import module

    made = network()
    tile(made, 3)
    means = module.means
    monkeypatch.setattr(module, "means", lambda x, cover: 1.01 * means(x, cover))
    with pytest.raises(CheckFailed, match="differs from that of the network in torch"):
        export(made, (X,), tmp_path / "m.onnx", dynamo=False)
    assert not list(tmp_path.iterdir())


def test_importing_the_package_does_not_import_torch():
    code = "import sys, tse_onnx; tse_onnx.Tiling; assert 'torch' not in sys.modules; import tse_onnx.torch, torch; torch.nn"
    subprocess.run([sys.executable, "-c", code], check=True)
