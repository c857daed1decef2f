"""Model scripts of Hailo's compiler: the line that tiles squeezes, and every line that there is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as run
from tse_onnx import CheckFailed, Frozen, Plan, Recompute, Selection, Tiling, UsageError
from tse_onnx.targets.alls import Command, FirstTiles, first_tiles, parse_alls

# In the spelling of public scripts: lists, patterns, quotes, comments, results, words with slashes, no last line end.
SCRIPT = """\
normalization1 = normalization([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
reshape_rgb = input_conversion(input_layer1, bgr_to_rgb)
# squeezes
pre_quantization_optimization(se_optimization, method=tse, mode=sequential, count=6, tile_height=8)

model_optimization_config(calibration,batch_size=8, calibset_size=32)
quantization_param([net_18/conv116, net_18/conv115], precision_mode=a16_w16)
quantization_param({conv[0-9]*}, precision_mode=a16_w16)
model_optimization_config(negative_exponent, layers={*}, rank=0)
pre_quantization_optimization(weights_clipping, layers=[conv75], mode=manual, clipping_values=[-32.52, 1e-06])
nms_postprocess("../../postprocess_config/net_config.json", yolov5, engine=cpu)
res1 = format_conversion(norm1, spatial_reshape, 7, 8, collapse=False, input_windows=[1, 1, 1])
a, b = shortcut(conv1, [conv2,
    conv3])
buffers(precision_change6, ew_add9, 11, 11, FULL_ROW)"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("alls") / "digits.onnx"
    models.save("digits_se", path)
    return path


def test_the_commands_of_a_script():
    read = parse_alls(SCRIPT)
    assert [command.name for command in read] == [
        "normalization", "input_conversion", "pre_quantization_optimization", "model_optimization_config",
        "quantization_param", "quantization_param", "model_optimization_config", "pre_quantization_optimization",
        "nms_postprocess", "format_conversion", "shortcut", "buffers",
    ]  # fmt: skip
    assert read[0] == Command(
        "normalization", ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), {}, ("normalization1",)
    )
    assert read[4].arguments == (("net_18/conv116", "net_18/conv115"),)
    assert read[5].arguments == ("{conv[0-9]*}",)
    assert read[6].settings == {"layers": "{*}", "rank": 0}
    assert read[7].settings["clipping_values"] == (-32.52, 1e-06)
    assert read[8].arguments == ("../../postprocess_config/net_config.json", "yolov5")
    assert (read[9].arguments[2:], read[9].settings["collapse"]) == ((7, 8), False)
    assert read[10] == Command("shortcut", ("conv1", ("conv2", "conv3")), {}, ("a", "b"))
    assert first_tiles(read) == FirstTiles(6, 8)
    assert first_tiles(read[3:]) is None


@given(count=st.integers(0, 999), height=st.integers(1, 999))
def test_the_line_reads_back(count, height):
    assert first_tiles(parse_alls(FirstTiles(count, height).line)) == FirstTiles(count, height)


@pytest.mark.parametrize(("text", "said"), [
    ("a", "line 1: its end is not where"), ("a(", "line 1"), ("a(b", "line 1"), ("a(b))", "line 1: ')'"),
    ("x\n\na(b) c(d)", "line 1"), ("\n\na(b) c(d)", "line 3: 'c'"), ("a(b=1, c)", "line 1: ')'"),
    ("a([1, 2)", "line 1: ')'"), ("a(1 2)", "line 1: '2'"), ("a = b", "line 1"), ("a, b(c)", "line 1: '('"),
    ('a("b)', "line 1: '\"'"), ("a({b)", "line 1: '{'"), ("a" + "([" * 1 + "[" * 40, "line 1: '['"), ("= a(b)", "line 1: '='"),
])  # fmt: skip
def test_what_is_no_script_is_one_line_with_its_number(text, said):
    with pytest.raises(UsageError) as error:
        parse_alls(text, "m.alls")
    assert str(error.value).startswith("m.alls, line ")
    assert said in str(error.value)


@given(st.text(alphabet="ab1.-=,()[]{}\"'#\n \\é", max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(UsageError):
        assert all(isinstance(command, Command) for command in parse_alls(text))


@pytest.mark.parametrize("settings", [
    "method=other, mode=sequential, count=1, tile_height=2", "method=tse, mode=custom, count=1, tile_height=2",
    "method=tse, mode=sequential, count=x, tile_height=2", "method=tse, mode=sequential, count=1",
])  # fmt: skip
def test_what_is_said_otherwise_of_squeezes(settings):
    with pytest.raises(UsageError, match="se_optimization"):
        first_tiles(parse_alls(f"pre_quantization_optimization(se_optimization, {settings})"))


def line_of(path, **options):
    tse_onnx.convert(path, verify=False, alls=path.parent / "made.alls", **options)
    return first_tiles(parse_alls((path.parent / "made.alls").read_text()))


def test_the_line_is_that_of_the_plan(digits):
    assert line_of(digits, rows=4) == FirstTiles(4, 4)
    assert line_of(digits, rows=8) == FirstTiles(3, 8)  # the last map is no higher than a tile
    assert line_of(digits, rows=4, selection=Selection(first=2)) == FirstTiles(2, 4)
    assert line_of(digits, plan=Plan(None, {"/3/body/body.6": Tiling(3)})) == FirstTiles(1, 3)
    assert line_of(digits, tiling=Tiling(7, divisors=True)) == FirstTiles(3, 8)


@pytest.mark.parametrize(("options", "said"), [
    ({"rows": 32}, "no block is tiled"),
    ({"selection": Selection(stages=((16, 2),))}, "'/4/body/body.6' has tiles of 2 rows, the ones before 7"),
    ({"selection": Selection(exclude=("/3/*",))}, "'/3/body/body.6' stays as it is, before '/4/body/body.6'"),
    ({"tiling": Tiling(7, 7)}, "tiles of 7 rows and 7 columns"), ({"tiling": Tiling(7, axis=1)}, "gets tiles of 7 columns"),
    ({"tiling": Tiling(3, squeeze="running")}, "a running squeeze of 3 rows"),
    ({"tiling": Tiling(3, squeeze="upper")}, "the upper 3 rows"),
    ({"plan": Plan(None, {"/3/body/body.6": Frozen((0.5,))})}, "gets a frozen gate"),
    ({"tiling": Recompute()}, "full rows"),
    ({"plan": Plan(Tiling(4), {"/4/body/body.6": Tiling(4, squeeze="running")})}, "'/4/body/body.6' gets a running"),
])  # fmt: skip
def test_what_no_line_says_writes_nothing(digits, tmp_path, options, said):
    with pytest.raises(CheckFailed, match=r"^alls") as error:
        tse_onnx.convert(
            digits, tmp_path / "o.onnx", verify=False, alls=tmp_path / "o.alls", report=tmp_path / "o.json", **options
        )
    assert said in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_commands(digits, tmp_path):
    done = run("convert", digits, "o.onnx", "--rows", "4", "--alls", "o.alls", "--no-verify", cwd=tmp_path)
    assert done.returncode == 0
    wanted = "pre_quantization_optimization(se_optimization, method=tse, mode=sequential, count=4, tile_height=4)\n"
    assert (tmp_path / "o.alls").read_text() == wanted
    assert (tmp_path / "o.onnx").read_bytes() == tse_onnx.convert(digits, rows=4, verify=False).serialized()
    (tmp_path / "o.alls").unlink()
    assert run("plan", digits, "--rows", "4", "--alls", "o.alls", cwd=tmp_path).returncode == 0
    assert (tmp_path / "o.alls").read_text() == wanted
    failed = run("convert", digits, "p.onnx", "--rows", "32", "--alls", "p.alls", cwd=tmp_path)
    assert failed.returncode == 1
    failed = run("plan", digits, "--rows", "32", "--alls", "p.alls", "-o", "p.toml", cwd=tmp_path)
    assert failed.returncode == 1
    assert not list(tmp_path.glob("p.*"))
    for words, said in (
        (("--alls", "q.onnx"), "the script would overwrite q.onnx, a file of the model"),
        (("--alls", "q.json", "--report", "q.json"), "q.json would be the report and the script"),
    ):
        assert said in refused(run("convert", digits, "q.onnx", "--rows", "4", *words, cwd=tmp_path))
    assert "--alls" in refused(run("plan", digits, "--exact", "--reduce", "10%", "--alls", "q.alls", cwd=tmp_path))
