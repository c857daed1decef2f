"""A plan that was trained together with weights is for the model that has them, and for no other."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import network
from tse_onnx import Plan, Tiling, UsageError
from tse_onnx.decision.trained import fingerprints


@pytest.fixture
def folder(tmp_path):
    """A network, one whose excite has other weights, and a plan that is for that."""
    model = network(16, 8)
    onnx.save(model, tmp_path / "net.onnx")
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 4)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    onnx.save(model, tmp_path / "trained.onnx")
    plan = Plan(Tiling(3), weights=fingerprints([tensor]))
    (tmp_path / "plan.toml").write_text(plan.dumps())
    assert Plan.load(tmp_path / "plan.toml") == plan
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "net.onnx", "out.onnx"),
        ("report", "net.onnx"),
        ("plan", "net.onnx"),
        ("evaluate", "net.onnx", "--data", "x.npz"),
    ],
)
def test_another_model_is_refused_in_one_line(folder, words):
    np.savez(folder / "x.npz", x=np.zeros((1, 8, 16, 12), np.float32))
    line = refused(command(*words, "--plan", "plan.toml", cwd=folder))
    assert "trained together with weights that net.onnx has not" in line
    assert "it is for the model that distil --train excite wrote as its --model-output" in line
    assert not (folder / "out.onnx").exists()


def test_the_model_that_it_is_for_is_converted_and_so_is_what_comes_of_it(folder):
    assert command("convert", "trained.onnx", "out.onnx", "--plan", "plan.toml", cwd=folder).returncode == 0
    done = command("convert", "out.onnx", "again.onnx", "--plan", "plan.toml", "--retile", cwd=folder)
    assert done.returncode == 0, done.stderr
    written = command("plan", "trained.onnx", "--plan", "plan.toml", "--exclude", "block1*", cwd=folder).stdout.decode()
    assert Plan.loads(written).weights == Plan.load(folder / "plan.toml").weights
    onnx.save(onnx.load(folder / "trained.onnx"), folder / "apart.onnx", save_as_external_data=True, size_threshold=0)
    tse_onnx.convert(folder / "apart.onnx", plan=Plan.load(folder / "plan.toml"), verify=False)
    with pytest.raises(UsageError, match="'gone' for one"):
        tse_onnx.convert(folder / "trained.onnx", plan=Plan(Tiling(3), weights={"gone": "0" * 32}))


def test_a_fingerprint_is_of_type_dimensions_and_numbers():
    arrays = [np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int32),
              np.full((2, 3), 1e-38, np.float32)]  # fmt: skip
    marks = [fingerprints([numpy_helper.from_array(array, "w")])["w"] for array in arrays]
    assert len(set(marks)) == len(arrays)
    typed = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], [0.0] * 6)
    assert fingerprints([typed])["w"] == marks[0]


@pytest.mark.parametrize(("text", "said"), [
    ("weights = 3", "weights is 3, not a table"),
    ("[weights]\nw = 3", "the fingerprint of the weights 'w' is 3, not a string"),
])  # fmt: skip
def test_fingerprints_that_are_none(text, said):
    with pytest.raises(UsageError, match=said):
        Plan.loads('schema = "tse-onnx/plan/1"\n' + text)
