"""Verification on the user's own data: what fits is used, what does not is one clear line."""

import zipfile

import numpy as np
import onnx
import pytest
from PIL import Image

import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import se_body, se_model, se_weights, text_model


@pytest.fixture
def folder(tmp_path):
    onnx.save(se_model(), tmp_path / "se.onnx")
    onnx.save(se_model(batch=4), tmp_path / "four.onnx")
    onnx.save(_colour_model(), tmp_path / "colour.onnx")
    return tmp_path


def _colour_model(height=32, width=24, channels_last=False):
    shape = f"N, {height}, {width}, 3" if channels_last else f"N, 3, {height}, {width}"
    first = "t = Transpose<perm = [0, 3, 1, 2]>(x)\n" if channels_last else "t = Identity(x)\n"
    weights = se_weights() | {"stem": np.random.default_rng(0).standard_normal((8, 3, 1, 1)).astype(np.float32)}
    return text_model(f"{first} h = Conv(t, stem)\n {se_body()}\n y = Neg(s)", weights,
                      inputs=f"float[{shape}] x", outputs=f"float[N, 8, {height}, {width}] y")  # fmt: skip


def _array(samples=5, dtype=np.float32):
    return np.random.default_rng(1).standard_normal((samples, 8, 16, 12)).astype(dtype)


def _refused(folder, data, model="se.onnx"):
    line = refused(command("convert", model, "out.onnx", "--data", data, cwd=folder))
    assert not (folder / "out.onnx").exists()
    return line


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 5, 8, 9, 20])
@pytest.mark.parametrize("way", ["npy", "npz", "npz with more in it"])
def test_every_sample_counts_whatever_the_batches(folder, samples, way):
    array = _array(samples)
    if way == "npy":
        np.save(folder / "x.npy", array)
    elif way == "npz":
        np.savez(folder / "x.npz", x=array)
    else:
        np.savez_compressed(folder / "x.npz", labels=np.arange(3), x=array)
    found = tse_onnx.convert(folder / "se.onnx", data=folder / f"x.{way[:3]}").verification
    assert (found.passed, found.samples) == (True, samples)
    one_by_one = [
        tse_onnx.convert(folder / "se.onnx", data=_saved(folder, array[[number]])).verification.drift[0].max_abs
        for number in range(samples)
    ]
    assert found.drift[0].max_abs == pytest.approx(max(one_by_one), rel=1e-5)


def _saved(folder, array):
    np.save(folder / "part.npy", array)
    return folder / "part.npy"


def test_the_drift_depends_on_the_data(folder):
    np.save(folder / "zero.npy", np.zeros((2, 8, 16, 12), np.float32))
    (drift,) = tse_onnx.convert(folder / "se.onnx", data=folder / "zero.npy").verification.drift
    assert (drift.max_abs, drift.sqnr_db) == (0.0, None)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_])
def test_numbers_of_another_type_are_cast_where_nothing_is_lost(folder, dtype):
    np.save(folder / "x.npy", np.abs(_array() * 2).astype(dtype))
    assert tse_onnx.convert(folder / "se.onnx", data=folder / "x.npy").verification.passed


@pytest.mark.parametrize("shape", [(5, 8, 16, 13), (5, 7, 16, 12), (8, 16, 12), (5, 8, 16, 12, 1), (), (0, 8, 16, 12)])
def test_wrong_shapes(folder, shape):
    np.save(folder / "x.npy", np.zeros(shape, np.float32))
    _refused(folder, "x.npy")


def test_wrong_shapes_name_both_shapes(folder):
    np.save(folder / "x.npy", np.zeros((5, 8, 16, 13), np.float32))
    line = _refused(folder, "x.npy")
    assert "'x'" in line
    assert "[5, 8, 16, 13]" in line
    assert "[N, 8, 16, 12]" in line


def test_wrong_names_are_said(folder):
    np.savez(folder / "x.npz", images=_array())
    line = _refused(folder, "x.npz")
    assert "images" in line
    assert "'x'" in line


@pytest.mark.parametrize("array", [np.array(["a"] * 8), np.zeros((2, 8, 16, 12), np.complex64),
                                   np.zeros((2, 8, 16, 12), "datetime64[s]")])  # fmt: skip
def test_arrays_without_real_numbers(folder, array):
    np.save(folder / "x.npy", array)
    _refused(folder, "x.npy")


def test_pickles_are_never_loaded(folder):
    np.save(folder / "x.npy", np.array([{"a": 1}]), allow_pickle=True)
    assert "it holds pickled objects, or something else altogether" in _refused(folder, "x.npy")
    (folder / "y.npy").write_bytes(b"no array at all")
    assert "allow_pickle" not in _refused(folder, "y.npy")


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 300), ("uint8", -1), ("int8", 200), ("bool", 2)])
def test_integers_that_do_not_fit(folder, dtype, value):
    body = f"i = Cast<to = 1>(n)\n h = Add(x, i)\n{se_body()}\n y = Neg(s)"
    model = text_model(body, se_weights(), inputs=f"float[N, 8, 16, 12] x, {dtype}[N, 8, 16, 12] n")
    onnx.save(model, folder / "two.onnx")
    np.savez(folder / "x.npz", x=_array(), n=np.full((5, 8, 16, 12), value))
    assert "'n'" in _refused(folder, "x.npz", "two.onnx")
    np.savez(folder / "x.npz", x=_array(), n=np.ones((5, 8, 16, 12), np.int64))
    assert tse_onnx.convert(folder / "two.onnx", data=folder / "x.npz").verification.passed
    np.savez(folder / "x.npz", x=_array(), n=np.ones((4, 8, 16, 12), np.int64))
    assert "numbers of samples" in _refused(folder, "x.npz", "two.onnx")
    np.save(folder / "x.npy", _array())
    assert "2 inputs" in _refused(folder, "x.npy", "two.onnx")


def _spoiled_zip(folder):
    np.savez_compressed(folder / "good.npz", x=_array())
    data = bytearray((folder / "good.npz").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\0" * 40
    return bytes(data)


HUGE = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}  \n"
NO_ARRAYS = [b"", b"hello", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00{", HUGE]


@pytest.mark.parametrize("content", [*NO_ARRAYS, "zip", "not arrays"])
def test_files_that_are_no_arrays(folder, content):
    if content == "zip":
        content = _spoiled_zip(folder)
    elif content == "not arrays":
        with zipfile.ZipFile(folder / "x.zip", "w") as archive:
            archive.writestr("x.npy", "hello")
        content = (folder / "x.zip").read_bytes()
    (folder / "x.npz").write_bytes(content)
    _refused(folder, "x.npz")


def test_a_fixed_batch_takes_whole_batches_only(folder):
    np.save(folder / "x.npy", _array(8))
    assert tse_onnx.convert(folder / "four.onnx", data=folder / "x.npy").verification.samples == 8
    np.save(folder / "x.npy", _array(6))
    assert "4" in _refused(folder, "x.npy", "four.onnx")


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e300, "inf")])
def test_data_that_are_not_finite_do_not_pass(folder, value, said):
    array = _array(9).astype(np.float64)
    array[8, 7, 3, 2] = value
    np.save(folder / "x.npy", array)
    line = refused(command("convert", "se.onnx", "out.onnx", "--data", "x.npy", cwd=folder), 2)
    assert f"sample 8 of the data for 'x' holds {said} as float32" in line
    assert not (folder / "out.onnx").exists()
    with pytest.raises(tse_onnx.DataError, match="sample 8"):
        tse_onnx.evaluate(folder / "se.onnx", folder / "se.onnx", data=folder / "x.npy")


# Images


def _paint(path, size=(24, 32), mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_images_of_every_kind(folder, mode):
    (folder / "images").mkdir()
    _paint(folder / "images" / ("a.tif" if mode == "CMYK" else "a.png"), mode=mode)
    _paint(folder / "images" / "b.JPG", size=(100, 40))
    (folder / "images" / "labels.txt").write_text("not an image")
    found = tse_onnx.convert(folder / "colour.onnx", data=folder / "images").verification
    assert (found.passed, found.samples) == (True, 2)


@pytest.mark.parametrize("preprocess", ["unit", "imagenet", "signed"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_images_are_prepared_as_said(folder, preprocess, channels_last):
    """An image of the input's own size is neither resized nor cropped: an array of its pixels must do the same."""
    onnx.save(_colour_model(channels_last=channels_last), folder / "m.onnx")
    (folder / "images").mkdir()
    _paint(folder / "images" / "a.png")
    pixels = np.asarray(Image.open(folder / "images" / "a.png"), np.float64) / 255
    mean, deviation = {
        "unit": (0, 1), "signed": (0.5, 0.5),
        "imagenet": (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])),
    }[preprocess]  # fmt: skip
    normal = ((pixels - mean) / deviation)[None]
    np.save(folder / "x.npy", (normal if channels_last else normal.transpose(0, 3, 1, 2)).astype(np.float32))
    by_image, by_array = (
        tse_onnx.convert(folder / "m.onnx", data=data, preprocess=preprocess).verification.drift[0].max_abs
        for data in (folder / "images", folder / "x.npy")
    )
    assert by_image == pytest.approx(by_array, rel=1e-4)
    assert by_image > 0


@pytest.mark.parametrize("name", ["broken.png", "broken.jpg", "empty.png", "cut.png", "cut.jpg", "folder.png"])
def test_unreadable_images_are_named(folder, name):
    (folder / "images").mkdir()
    _paint(folder / "images" / "good.png")
    path = folder / "images" / name
    if name.startswith("broken"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nonsense" * 20)
    elif name.startswith("empty"):
        path.touch()
    elif name.startswith("cut"):
        _paint(path, size=(200, 200))
        path.write_bytes(path.read_bytes()[:3000])
    else:
        path.mkdir()
    assert name in _refused(folder, "images", "colour.onnx")


def test_folders_that_do_not_fit(folder):
    (folder / "images").mkdir()
    assert "no images" in _refused(folder, "images", "colour.onnx")
    _paint(folder / "images" / "a.png")
    assert "three colours" in _refused(folder, "images", "se.onnx")


def test_more_than_one_input_cannot_be_fed_with_images(folder):
    (folder / "images").mkdir()
    _paint(folder / "images" / "a.png")
    model = text_model(f"h = Add(x, z)\n{se_body()}\n y = Neg(s)", se_weights(),
                       inputs="float[N, 8, 16, 12] x, float[N, 8, 16, 12] z")  # fmt: skip
    onnx.save(model, folder / "two.onnx")
    assert "2" in _refused(folder, "images", "two.onnx")
