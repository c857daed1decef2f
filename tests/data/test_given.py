"""Arrays are data wherever a path is: the same numbers come out as from a file."""

import numpy as np
import pytest

import models
import tse_onnx
from tse_onnx.data.given import given


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    models.save("digits_se", folder / "digits.onnx")
    images, labels = models.digits()
    np.savez(folder / "digits.npz", input=images[:40], labels=labels[:40])
    np.save(folder / "digits.npy", images[:40])
    return folder


WAYS = {
    "array": lambda images: images,
    "by name": lambda images: {"input": images},
    "feeds": lambda images: [{"input": images[:15]}, {"input": images[15:]}],
    "a reader": lambda images: ({"input": image[None]} for image in images),
}


@pytest.mark.parametrize("way", WAYS)
def test_evaluation_and_verification_are_those_of_a_file(folder, way):
    model, images = folder / "digits.onnx", models.digits()[0][:40]
    expected = tse_onnx.evaluate(model, data=folder / "digits.npy", rows=7)
    found = tse_onnx.evaluate(model, data=WAYS[way](images), rows=7)
    assert found.models == expected.models
    assert found.data == "40 samples from arrays"
    proved = tse_onnx.convert(model, data=folder / "digits.npy", certify=True)
    result = tse_onnx.convert(model, data=WAYS[way](images), certify=True)
    assert result.verification.drift == proved.verification.drift
    assert result.verification.scores


def test_labels_come_with_arrays(folder):
    images, labels = (array[:40] for array in models.digits())
    model = folder / "digits.onnx"
    data = tse_onnx.Data({"input": images, "labels": labels}, limit=25, seed=3)
    found = tse_onnx.evaluate(model, data=data, rows=7)
    read = tse_onnx.evaluate(model, data=tse_onnx.Data(folder / "digits.npz", limit=25, seed=3), rows=7)
    assert found.labelled
    assert found.models == read.models
    assert not tse_onnx.evaluate(model, data=images, rows=7).labelled


def test_tuning_takes_arrays(folder):
    images = models.digits()[0][:40]
    model, menu = folder / "digits.onnx", tse_onnx.Menu(rows=(3,), squeezes=("running",))
    one, other = (
        tse_onnx.sensitivity(model, data, menu=menu, cache=False)
        for data in ([{"input": images}], folder / "digits.npy")
    )
    assert [block.candidates for block in one.blocks] == [block.candidates for block in other.blocks]


def test_a_conversion_that_is_not_written_is_evaluated(folder):
    model, data = folder / "digits.onnx", folder / "digits.npy"
    by_rows = tse_onnx.evaluate(model, data=data, rows=3)
    assert by_rows.models == tse_onnx.evaluate(model, data=data, tiling=tse_onnx.Tiling(3)).models
    assert by_rows.models == tse_onnx.evaluate(model, data=data, plan=tse_onnx.Plan(tse_onnx.Tiling(3))).models
    assert by_rows.models != tse_onnx.evaluate(model, data=data, rows=7).models
    assert tse_onnx.correlate(model, data=data, rows=3) == tse_onnx.correlate(
        model, data=data, plan=tse_onnx.Plan(tse_onnx.Tiling(3))
    )
    assert tse_onnx.correlate(model, data=data, rows=3) != tse_onnx.correlate(model, data=data, rows=7)
    with pytest.raises(tse_onnx.UsageError, match="one of rows, a tiling and a plan"):
        tse_onnx.evaluate(model, data=data, rows=3, plan=tse_onnx.Plan())


@pytest.mark.parametrize("data", [3, [], [1, 2], [{"input": np.zeros(2)}, {"other": np.zeros(2)}]])
def test_what_is_no_data(data):
    with pytest.raises(tse_onnx.DataError, match="data are a path, an array"):
        given(data)


def test_arrays_that_do_not_fit(folder):
    model, images = folder / "digits.onnx", models.digits()[0][:4]
    for data, words in (
        (images[:, :, :5], "have shape"),
        ({"image": images}, "they lack 'input'"),
        ([{"input": images}, {"input": images[:, :, :5]}], "do not go together"),
        ({"input": [[1.0], [1.0, 2.0]]}, "do not go together"),
    ):
        with pytest.raises(tse_onnx.DataError, match=words):
            tse_onnx.convert(model, data=data)
    with pytest.raises(tse_onnx.UsageError, match="a folder for each stream"):
        tse_onnx.evaluate(model, data=tse_onnx.Data(images, frames=True), rows=7)
