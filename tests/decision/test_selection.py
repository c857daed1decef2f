"""Which blocks get which tiles: by name, pattern, height and order, on the command line and in the library."""

import pytest

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network, se_model
from tse_onnx.decision.selection import Selection, resolve
from tse_onnx.errors import UsageError

BLOCKS = ("block0_squeeze", "block1_squeeze", "block2_squeeze", "block3_squeeze")


def _rows(selection, plan=None, model=None):
    """Rows by block name; None where the global mean stays."""
    blocks = tse_onnx.find_blocks(model or network(28, 28, 14, 14))
    made = resolve(blocks, plan or tse_onnx.Plan(), selection)
    return [tiling and tiling.rows for tiling in (made.of(block) for block in blocks if block.refusal is None)]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [7, 7, 7, 7]),
        (Selection(first=0), [None] * 4),
        (Selection(first=2), [7, 7, None, None]),
        (Selection(first=9), [7, 7, 7, 7]),
        (Selection(include=("block1*",)), [None, 7, None, None]),
        (Selection(include=("block1*", "block3_squeeze")), [None, 7, None, 7]),
        (Selection(exclude=("block[01]*",)), [None, None, 7, 7]),
        (Selection(include=("block[012]*",), exclude=("block1*",), first=1), [7, None, None, None]),
        (Selection(exclude=("block0*",), first=1), [None, 7, None, None]),
        (Selection(min_height=14), [7, 7, 7, 7]),
        (Selection(min_height=15), [7, 7, None, None]),
        (Selection(min_height=28, first=1), [7, None, None, None]),
        (Selection(min_height=15, stages=((14, 3), (28, 2))), [2, 2, None, None]),
        (Selection(stages=((28, 3),)), [3, 3, 7, 7]),
        (Selection(stages=((28, 3), (14, 2), (28, 4))), [4, 4, 2, 2]),
        (Selection(rows=(("block2_squeeze", 5),)), [7, 7, 5, 7]),
        (Selection(rows=(("block2_squeeze", 5), ("*", 2))), [2, 2, 5, 2]),
        (Selection(rows=(("*2*", 5), ("*", 2))), [2, 2, 2, 2]),
        (Selection(rows=(("*3*", 5),), stages=((14, 2),)), [7, 7, 2, 5]),
        (Selection(rows=(("*3*", 5),), exclude=("*3*",)), [7, 7, 7, None]),
    ],
)
def test_the_narrower_wish_wins(selection, expected):
    assert _rows(selection) == expected


def test_a_selection_changes_the_rows_of_the_plan_and_nothing_else():
    plan = tse_onnx.Plan(tse_onnx.Tiling(5, squeeze="running", step=4), {BLOCKS[1]: tse_onnx.Tiling(None, 3)})
    blocks = tse_onnx.find_blocks(network(28, 28))
    made = resolve(blocks, plan, Selection(stages=((28, 3),)))
    assert made.of(blocks[0]) == tse_onnx.Tiling(3, squeeze="running", step=3)
    assert made.of(blocks[1]) == tse_onnx.Tiling(3, 3)
    assert made.default == plan.default


def test_the_first_blocks_are_the_first_in_data_flow_and_not_in_node_order():
    model = network(28, 14, 14)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    result = tse_onnx.convert(model, rows=3, selection=Selection(first=1), verify=False)
    chosen = [decision.block.name for decision in result.blocks if decision.status == "converted"]
    assert chosen == ["block0_squeeze"]


@pytest.mark.parametrize(
    ("selection", "near"),
    [
        (Selection(rows=(("block2_sqeeze", 3),)), "block2_squeeze"),
        (Selection(include=("block3_squeeze_",)), "block3_squeeze"),
        (Selection(exclude=("blocc1*",)), "block1_squeeze"),
        (Selection(stages=((27, 3),)), "28, 14"),
        (Selection(min_height=29), "min_height=29 fits no block; there are maps of height 28, 14"),
        (Selection(rows=(("head_pool", 3),)), "head"),
        (Selection(include=("head*",)), "matches no block"),
    ],
)
def test_what_is_not_there_is_an_error_with_the_nearest(selection, near):
    with pytest.raises(UsageError, match=near):
        _rows(selection)


def test_a_height_is_the_size_along_the_axis_that_is_streamed():
    """The maps are 16 high and 12 wide."""
    model = se_model()
    assert _rows(Selection(min_height=16), model=model) == [7]
    across = tse_onnx.Plan(tse_onnx.Tiling(7, axis=1))
    assert _rows(Selection(min_height=12), across, model) == [7]
    with pytest.raises(UsageError, match="there are maps of height 12"):
        _rows(Selection(min_height=13), across, model)


def test_the_tallest_maps_alone_are_recomputed(tmp_path):
    """As a compiler wants it whose memory is that of the tallest map."""
    path = tmp_path / "b0.onnx"
    models.save("efficientnet_b0_torchscript_17", path)
    done = command("report", path, "--squeeze", "recompute", "--min-height", 28, "--format", "json", "--no-dataflow")
    blocks = [block for block in validated(done.stdout, "report")["blocks"] if block["status"] != "refused"]
    tall = [block["status"] == "converted" for block in blocks]
    assert tall == [block["shape"][2] >= 28 for block in blocks]
    assert tall.count(True) == 5
    assert blocks[-1]["reason"] == "left out: its map has 7 rows, fewer than --min-height 28"


def test_a_plan_that_names_another_model_s_block_is_refused():
    with pytest.raises(UsageError, match=r"'block1_sqeeze'.*did you mean 'block1_squeeze'"):
        tse_onnx.convert(network(28, 14), plan=tse_onnx.Plan(choices={"block1_sqeeze": None}))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network(28, 28, 14, 14).SerializeToString())
    return path


def test_the_command_line_says_the_same(model, tmp_path):
    options = ("--rows", 5, "--rows", "14:2", "--rows", "block0_squeeze=3", "--exclude", "block3*", "--first", 2)
    done = command("convert", model, tmp_path / "out.onnx", *options, "--format", "json")
    report = validated(done.stdout, "report")
    blocks = report["blocks"][:4]
    assert [block["tiling"] and block["tiling"]["rows"] for block in blocks] == [3, 5, None, None]
    assert [block["status"] for block in blocks] == ["converted", "converted", "unchanged", "unchanged"]
    assert "--first" in blocks[2]["reason"]
    assert "--exclude block3*" in blocks[3]["reason"]
    seen = validated(command("report", model, *options, "--format", "json").stdout, "report")
    assert seen["blocks"] == report["blocks"]


@pytest.mark.parametrize(
    "options",
    [
        ("--rows", 0), ("--rows", "14:0"), ("--rows", "=3"), ("--rows", "block0_squeeze="), ("--rows", "1.5"),
        ("--rows", 3, "--rows", 4), ("--first", -1), ("--min-height", 0), ("--min-height", 29), ("--rows", "15:3"), ("--rows", "nobody=3"),
        ("--include", "nobody"), ("--exclude", "no*"), ("--rows", "9" * 5000),
    ],
)  # fmt: skip
def test_bad_options_are_one_line(model, tmp_path, options):
    for words in (("convert", model, tmp_path / "out.onnx"), ("report", model), ("plan", model)):
        refused(command(*words, *options))
    assert not (tmp_path / "out.onnx").exists()
