"""Samples: what an image becomes, which label is whose, and what a subset and a digest stand for."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from PIL import Image

from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import text_model
from tse_onnx.data.preprocess import Preprocess
from tse_onnx.data.presets import PRESETS, parse_preprocess, preprocess_of
from tse_onnx.data.samples import samples_of
from tse_onnx.errors import DataError, UsageError
from tse_onnx.passes.graph.types import TensorType

COLOUR = {"x": TensorType(TensorProto.FLOAT, ("N", 3, 20, 24))}
PAIRS = {"x": TensorType(TensorProto.FLOAT, (2, 3, 20, 24))}
VECTOR = {"x": TensorType(TensorProto.FLOAT, ("N", 4))}
UNIT = PRESETS["unit"]


def _picture(size=(24, 20), seed=0):
    """A smooth picture: width, height."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(("b.png", "a.png", "d.png", "c.png")):
        _picture(seed=number).save(tmp_path / name)
    return tmp_path


def _fed(samples):
    return np.concatenate([feed["x"] for feed in samples.feeds()])


# Preprocessing


def _by_hand(image, size, box, method):
    resized = image.resize(size, method) if size != image.size else image
    left, top = box
    return np.asarray(resized, np.float64)[top : top + 20, left : left + 24]


IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


@pytest.mark.parametrize(("preset", "size", "resized", "method", "values"), [
    # Within a seventh of the input's 24 × 20 "fit" leaves a picture as it is; otherwise it covers it tightly.
    ("unit", (27, 22), (27, 22), None, lambda x: x / 255),
    ("unit", (100, 50), (40, 20), Image.Resampling.BILINEAR, lambda x: x / 255),
    ("imagenet", (48, 80), (24, 40), Image.Resampling.BILINEAR, lambda x: (x / 255 - IMAGENET[0]) / IMAGENET[1]),
    ("signed", (12, 10), (24, 20), Image.Resampling.BILINEAR, lambda x: x / 127.5 - 1),
    ("raw", (24, 20), (24, 20), None, lambda x: x),
    ("caffe", (24, 20), (24, 20), None, lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
    # 20 / 0.875 is 22.9 and 24 / 0.875 27.4, of which the whole pixels are covered: 27 × 22 by 44 × 22 and 27 × 54.
    ("torchvision", (100, 50), (44, 22), Image.Resampling.BILINEAR, lambda x: (x / 255 - IMAGENET[0]) / IMAGENET[1]),
    ("timm", (50, 100), (27, 54), Image.Resampling.BICUBIC, lambda x: (x / 255 - IMAGENET[0]) / IMAGENET[1]),
])  # fmt: skip
def test_presets(tmp_path, preset, size, resized, method, values):
    picture = _picture(size)
    picture.save(tmp_path / "a.png")
    wanted = values(_by_hand(picture, resized, ((resized[0] - 24) // 2, (resized[1] - 20) // 2), method))
    (found,) = _fed(samples_of(COLOUR, tmp_path, PRESETS[preset]))
    assert found == pytest.approx(wanted.transpose(2, 0, 1), abs=1e-4)


@pytest.mark.parametrize(("resize", "crop", "size", "resized"), [
    (22, "centre", (50, 44), (25, 22)), (30, "centre", (30, 75), (30, 75)), ((30, 60), "centre", (10, 10), (60, 30)),
    ("stretch", "none", (10, 10), (24, 20)), ([20, 24], "none", (70, 11), (24, 20)), ("none", "none", (24, 20), (24, 20)),
    ("none", "centre", (90, 31), (90, 31)), (0.5, "centre", (100, 100), (48, 48)), (1.0, "centre", (99, 50), (39, 20)),
])  # fmt: skip
def test_sizes(tmp_path, resize, crop, size, resized):
    picture = _picture(size)
    picture.save(tmp_path / "a.png")
    box = ((resized[0] - 24) // 2, (resized[1] - 20) // 2)
    wanted = _by_hand(picture, resized, box, Image.Resampling.NEAREST) / 255
    preprocess = Preprocess(resize, crop, interpolation="nearest")
    (found,) = _fed(samples_of(COLOUR, tmp_path, preprocess))
    assert found == pytest.approx(wanted.transpose(2, 0, 1), abs=1e-6)


@given(st.tuples(st.integers(1, 900), st.integers(1, 900)), st.integers(1, 400), st.floats(0.1, 1))
def test_a_resized_picture_covers_what_it_has_to(size, side, fraction):
    """The shorter side becomes what was asked for, the longer keeps the proportions, rounded down as torchvision does."""
    width, height = Preprocess(side).size(size, (1, 1))
    assert min(width, height) == side
    short, long = sorted(size)
    assert max(width, height) == side * long // short
    wanted = (math.floor(224 / fraction), math.floor(192 / fraction))
    found = Preprocess(fraction).size(size, (224, 192))
    assert all(one >= two for one, two in zip(found, wanted, strict=True))
    assert any(one == two for one, two in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("preprocess", "said"), [
    (Preprocess("none"), "30 × 10"), (Preprocess(8), "24 × 8"), (Preprocess(40, "none"), "120 × 40"),
])  # fmt: skip
def test_pictures_of_another_size_are_named(tmp_path, preprocess, said):
    _picture((10, 30)).save(tmp_path / "tall.png")
    with pytest.raises(DataError, match=r"tall\.png") as raised:
        _fed(samples_of(COLOUR, tmp_path, preprocess))
    assert said in str(raised.value)
    assert "20 × 24" in str(raised.value)


def test_one_colour(tmp_path):
    _picture().save(tmp_path / "a.png")
    grey = {"x": TensorType(TensorProto.FLOAT, ("N", 1, 20, 24))}
    (found,) = _fed(samples_of(grey, tmp_path, UNIT))
    assert found == pytest.approx(np.asarray(_picture().convert("L"), np.float64)[None] / 255, abs=1e-6)
    with pytest.raises(DataError, match="three colours"):
        samples_of(grey, tmp_path, PRESETS["imagenet"])


def test_layouts(tmp_path):
    _picture((3, 20)).save(tmp_path / "a.png")
    both = {"x": TensorType(TensorProto.FLOAT, ("N", 3, 20, 3))}
    pixels = np.asarray(_picture((3, 20)), np.float64) / 255
    (found,) = _fed(samples_of(both, tmp_path, UNIT))
    assert found == pytest.approx(pixels.transpose(2, 0, 1), abs=1e-6)
    last = {"x": TensorType(TensorProto.FLOAT, ("N", 20, 3, 3))}
    (found,) = _fed(samples_of(last, tmp_path, UNIT))
    assert found == pytest.approx(pixels, abs=1e-6)
    with pytest.raises(DataError, match="NCHW"):
        samples_of(last, tmp_path, Preprocess(layout="NCHW"))


def test_inputs_of_integers_take_pixels_as_they_are(tmp_path):
    _picture().save(tmp_path / "a.png")
    bytes_ = {"x": TensorType(TensorProto.UINT8, ("N", 20, 24, 3))}
    (found,) = _fed(samples_of(bytes_, tmp_path, PRESETS["raw"]))
    assert (found == np.asarray(_picture())).all()
    with pytest.raises(DataError, match="raw"):
        samples_of(bytes_, tmp_path, UNIT)


def test_a_file_says_what_is_done():
    text = 'preset = "imagenet"\nresize = 256\ninterpolation = "bicubic"\nstd = 0.5\ncolours = "BGR"\nlayout = "NHWC"\n'
    assert parse_preprocess(text) == Preprocess(
        256, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.5,), colours="BGR", layout="NHWC"
    )
    assert parse_preprocess("") == UNIT
    assert parse_preprocess("resize = [3, 4]\nmean = [1, 2, 3]\ndivisor = 1").resize == (3, 4)
    assert preprocess_of("timm") is PRESETS["timm"]
    assert preprocess_of(UNIT) is UNIT


@pytest.mark.parametrize(("text", "said"), [
    ("resize = 0", "resize"), ("resize = true", "resize"), ("resize = 1.5", "resize"), ("resize = [1, 2, 3]", "resize"),
    ("resize = 'crop'", "resize"), ("resize = {}", "resize"), ("crop = 'center'", "centre"), ("mean = [1, 2]", "three"),
    ("mean = 'a'", "mean"), ("std = 0", "zero"), ("std = [1, 0, 1]", "zero"), ("std = nan", "std"), ("divisor = 0", "divisor"),
    ("divisor = inf", "divisor"), ("colours = 'rgb'", "RGB"), ("colour = 'RGB'", "colours"), ("layout = 1", "NHWC"),
    ("preset = 'caffe2'", "caffe"), ("preset = 3", "preset"), ("nonsense", "TOML"), ("interpolation = 'lanczos'", "bicubic"),
])  # fmt: skip
def test_mistakes_in_a_file_are_answered(tmp_path, text, said):
    with pytest.raises(UsageError, match=r"p\.toml") as raised:
        parse_preprocess(text, "p.toml")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", ["inception", "none.toml", "latin.toml", "."])
def test_no_preprocessing(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"resize = \xff")
    with pytest.raises(UsageError):
        preprocess_of(given)


def test_every_preset_says_what_it_does():
    said = {name: str(preset) for name, preset in PRESETS.items()}
    assert len(set(said.values())) == len(said)
    assert said["timm"] == (
        "resized to the input's size over 0.875 (bicubic), centre cropped, RGB, "
        "(x / 255 − [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
    )
    assert "BGR, x − [103.939" in said["caffe"]


# Subsets and digests


def test_batches_names_and_subsets(photos):
    whole = samples_of(COLOUR, photos, UNIT)
    assert (whole.count, whole.names, whole.batch, whole.fixed) == (4, ("a.png", "b.png", "c.png", "d.png"), 4, False)
    part = whole.subset([3, 0])
    assert (part.names, part.batch, part.text) == (("d.png", "a.png"), 2, f"2 of 4 images from {photos.name}")
    assert (_fed(part) == _fed(whole)[[3, 0]]).all()
    assert part.subset([1]).names == ("a.png",)
    assert part.subset([1]).text == f"1 of 4 images from {photos.name}"
    assert [len(feed["x"]) for feed in whole.by(3).feeds()] == [3, 1]
    assert whole.drawn(2, 1).names == whole.drawn(2, 1).names
    assert len({whole.drawn(2, seed).names for seed in range(20)}) > 3
    assert whole.drawn(9) is whole


def test_a_fixed_batch(photos):
    whole = samples_of(PAIRS, photos, UNIT)
    assert [len(feed["x"]) for feed in whole.feeds()] == [2, 2]
    odd = whole.subset([0, 1, 2])
    with pytest.raises(DataError, match="batches of 2; 3 samples"):
        odd.feeds()
    with pytest.raises(DataError, match="batches of 2, not of 4"):
        whole.by(4)


def test_images_are_decoded_when_they_are_fed(photos):
    (photos / "b.png").write_bytes(b"broken")
    whole = samples_of(COLOUR, photos, UNIT)
    assert len(_fed(whole.subset([0, 2]))) == 2
    with pytest.raises(DataError, match=r"b\.png"):
        _fed(whole)


def test_a_digest_is_that_of_what_is_fed(photos):
    whole = samples_of(COLOUR, photos, UNIT)
    assert len(whole.digest()) == 64
    assert whole.digest() == samples_of(COLOUR, photos, UNIT).digest()
    wide = {"x": TensorType(TensorProto.FLOAT, ("N", 3, 20, 22))}
    half = {"x": TensorType(TensorProto.FLOAT16, ("N", 3, 20, 24))}
    (photos / "l.csv").write_text("".join(f"{name},1\n" for name in whole.names))
    others = [
        whole.subset([0, 1, 2]), whole.subset([0, 1, 3, 2]), samples_of(COLOUR, photos, Preprocess(divisor=254)),
        samples_of(wide, photos, UNIT), samples_of(half, photos, UNIT),
    ]  # fmt: skip
    assert len({whole.digest(), *(other.digest() for other in others)}) == 6
    assert samples_of(COLOUR, photos, UNIT, photos / "l.csv").digest() == whole.digest()
    digest = whole.digest()
    _picture(seed=9).save(photos / "c.png")
    assert whole.digest() != digest


def test_a_digest_of_arrays(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    npy, npz = (samples_of(VECTOR, tmp_path / f"x.{kind}", UNIT) for kind in ("npy", "npz"))
    assert npy.digest() == npz.digest()
    assert npy.digest() != npy.subset([1, 0, 2]).digest()
    np.save(tmp_path / "x.npy", x + 1)
    assert samples_of(VECTOR, tmp_path / "x.npy", UNIT).digest() != npz.digest()


def test_a_large_array_is_read_where_it_lies(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 4), np.float64))
    samples = samples_of(VECTOR, tmp_path / "x.npy", UNIT)
    ((array, dtype),) = samples._content.inputs.values()
    assert isinstance(array, np.memmap)
    assert _fed(samples).dtype == dtype == np.float32


# Labels


@pytest.mark.parametrize(("folders", "labels"), [
    (("cat", "ant", "bee"), [2, 0, 1]), (("10", "9", "007"), [10, 9, 7]), (("1", "x"), [0, 1]),
])  # fmt: skip
def test_a_folder_for_each_class(tmp_path, folders, labels):
    by_folder = dict(zip(folders, labels, strict=True))
    for name in folders:
        (tmp_path / name).mkdir()
        _picture().save(tmp_path / name / "same.png")
    found = samples_of(COLOUR, tmp_path, UNIT)
    assert found.names == tuple(f"{name}/same.png" for name in sorted(folders))
    assert found.labels.tolist() == [by_folder[name] for name in sorted(folders)]
    assert found.labels.dtype == np.int64
    assert samples_of(COLOUR, tmp_path, UNIT, labelled=False).labels is None


@pytest.mark.parametrize(("lines", "labels"), [
    (["a.png,3", "b.png,1", "c.png,4", "d.png,0"], [3, 1, 4, 0]),
    (["file,label", "d.png,0", "c.png,4", "", "b.png, 1", "a.png,3"], [3, 1, 4, 0]),
    (["./a.png,x", '"b.png","y, z"', "sub/c.png,x", "d.png,w"], [1, 2, 1, 0]),
])  # fmt: skip
def test_labels_by_file(photos, lines, labels):
    (photos / "l.csv").write_text("\ufeff" + "\r\n".join(lines))
    found = samples_of(COLOUR, photos, UNIT, photos / "l.csv")
    assert found.labels.tolist() == labels
    assert found.subset([2, 0]).labels.tolist() == [labels[2], labels[0]]
    assert samples_of(COLOUR, photos, UNIT, photos / "l.csv", label_offset=5).labels[0] == labels[0] + 5


GOOD = ["a.png,3", "b.png,1", "c.png,4", "d.png,0"]


@pytest.mark.parametrize(("lines", "said"), [
    (GOOD[:2], ["'c.png'", "1 more"]), ([*GOOD, "e.png,1"], ["'e.png'", "no sample"]), ([*GOOD, "a.png,3"], ["twice"]),
    (["a.png"], ["file,label"]), (["a.png,1,2"], ["file,label"]), ([*GOOD[:3], "d.png,"], ["empty"]), ([], ["'a.png'"]),
    ([*GOOD[:3], "d.png,99999999999"], ["99999999999"]), ([*GOOD[:3], "d.png," + "9" * 5000], ["no index"]),
    (["e\x1b[31m.png,1"], ["no sample"]),
])  # fmt: skip
def test_labels_that_do_not_fit_are_named(photos, lines, said):
    (photos / "l.csv").write_text("\n".join(lines))
    with pytest.raises(DataError) as raised:
        samples_of(COLOUR, photos, UNIT, photos / "l.csv")
    assert all(part in str(raised.value) for part in said)
    assert "\x1b" not in str(raised.value)


def test_a_name_that_may_be_two(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        _picture().save(tmp_path / name / "same.png")
    (tmp_path / "l.csv").write_text("same.png,1\n")
    with pytest.raises(DataError, match=r"may be 'a/same\.png' or 'b/same\.png'"):
        samples_of(COLOUR, tmp_path, UNIT, tmp_path / "l.csv")
    (tmp_path / "l.csv").write_text("a/same.png,1\nb/same.png,2\n")
    assert samples_of(COLOUR, tmp_path, UNIT, tmp_path / "l.csv").labels.tolist() == [1, 2]


@pytest.mark.parametrize(("content", "said"), [
    (np.arange(4), "4 labels"), (np.zeros(3), "integers"), (np.zeros((3, 1), int), "integers"), (b"junk", "cannot read"),
    ("1\n2\n", "2 labels"), ("1\n2\n3\n4\n", "4 labels"), ("\xff", "UTF-8"),
])  # fmt: skip
def test_labels_of_arrays_that_do_not_fit(tmp_path, content, said):
    np.save(tmp_path / "x.npy", np.zeros((3, 4), np.float32))
    path = tmp_path / ("l.csv" if isinstance(content, str) else "l.npy")
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    with pytest.raises(DataError, match=said):
        samples_of(VECTOR, tmp_path / "x.npy", UNIT, path)


def test_labels_in_the_npz_are_an_input_where_the_model_has_one(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4), np.float32), labels=np.arange(3))
    assert samples_of(VECTOR, tmp_path / "x.npz", UNIT).labels.tolist() == [0, 1, 2]
    both = VECTOR | {"labels": TensorType(TensorProto.INT64, ("N",))}
    found = samples_of(both, tmp_path / "x.npz", UNIT)
    assert found.labels is None
    assert next(found.feeds())["labels"].tolist() == [0, 1, 2]


# Through the command line


def test_unreadable_images_are_skipped_where_one_says_so(photos):
    import onnx

    model = text_model(
        "p = GlobalAveragePool(x)\n y = Flatten(p)", inputs="float[N, 3, 20, 24] x", outputs="float[N, 3] y"
    )
    onnx.save(model, photos / "m.onnx")
    (photos / "images").mkdir()
    for name in ("1", "2"):
        (photos / "images" / name).mkdir()
    _picture().save(photos / "images" / "1" / "good.png")
    (photos / "images" / "2" / "bad\x1b[31m.png").write_bytes(b"no picture")
    arguments = ("evaluate", "m.onnx", "m.onnx", "--data", "images")
    line = refused(command(*arguments, cwd=photos))
    assert "bad" in line
    done = command(*arguments, "--skip-unreadable", cwd=photos)
    assert done.returncode == 0
    assert b"1 image from images (1 unreadable skipped)" in done.stdout
    assert b"Skipped: 2/bad\\x1b[31m.png" in done.stdout
    (photos / "images" / "1" / "good.png").write_bytes(b"")
    assert "none of the 2 images" in refused(command(*arguments, "--skip-unreadable", cwd=photos))


def test_preprocess_is_data():
    assert dataclasses.is_dataclass(Preprocess)
    with pytest.raises(dataclasses.FrozenInstanceError):
        UNIT.divisor = 1
    assert hash(UNIT) == hash(Preprocess())
