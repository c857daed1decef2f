"""The lists of ways to write a block: what they say of themselves holds, and stands in the docs."""

import random
import sys
from pathlib import Path

import onnx
import pytest

import tse_onnx
from tests import every_size
from tests.every_size import Job
from tse_onnx import Tiling
from tse_onnx.passes.blocks.tiling import OpenStrips, Running, Tile, Window
from tse_onnx.passes.lowering import MEANS, SPREADS, Case
from tse_onnx.passes.lowering.tiles import _pairs
from tse_onnx.passes.lowering.way import factors

FORMS = Path(__file__).resolve().parents[2] / "docs" / "forms.md"
SQUEEZES = {Tile: "tile", Window: "upper, middle", Running: "running", OpenStrips: "`--dynamic`"}
ASIDE = {"Slice", "Transpose"}


def rows_of(means: bool) -> list[str]:
    """The lines of a table of docs/forms.md."""
    lines = []
    for way in MEANS if means else SPREADS:
        squeezes = ", ".join(text for kind, text in SQUEEZES.items() if kind in way.needs.covers)
        operators = ", ".join(name for name in way.operators if not means or name not in ASIDE)
        cells = [f"`{way.name}`", way.text, operators, *([way.window] if means else []), squeezes, str(way.needs)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


# What docs/forms.md says is written, for a map of 28 × 28 where the case does not say another.
CASES = {
    "strips of rows that divide the map, opset up to 18, a batch of known size": Case(Tiling(7).cover((28, 28)), 17),
    "strips of rows that divide the map, otherwise": Case(Tiling(7).cover((28, 28)), 20),
    "strips of rows that do not divide it": Case(Tiling(5).cover((28, 28)), 17),
    "running squeezes": Case(Tiling(3, squeeze="running").cover((28, 28)), 17),
    "strips of columns that divide it": Case(Tiling(None, 7).cover((28, 28)), 17),
    "strips of columns that do not": Case(Tiling(None, 5).cover((28, 28)), 17),
    "patches that divide it": Case(Tiling(7, 7).cover((28, 28)), 17),
    "patches that do not": Case(Tiling(5, 5).cover((28, 28)), 17),
    "strips of a map of more than 512 rows that do not divide it": Case(Tiling(7).cover((600, 28)), 17),
    "strips of rows that do not divide a map with its channels last": Case(Tiling(5).cover((28, 28)), 17, first=False),
    "strips of rows that divide it, with quantisers": Case(Tiling(7).cover((28, 28)), 17, quantised=True),
    "strips of rows that do not, with quantisers": Case(Tiling(5).cover((28, 28)), 17, quantised=True),
    "strips of rows that do not, in double precision": Case(Tiling(5).cover((28, 28)), 17, double=True),
    "strips of rows of a map of any size (`--dynamic`)": Case(OpenStrips(0, 2, 7), 17),
}


def test_what_is_chosen_is_what_the_docs_say():
    lines = []
    for title, case in CASES.items():
        mean, spread = _pairs(case, False, False, "", "")[0]
        lines.append(f"| {title} | `{mean.name}` | `{spread.name}` |")
    assert "\n".join(lines) in FORMS.read_text(encoding="utf-8"), "\n".join(lines)


@pytest.mark.parametrize("means", [True, False])
def test_the_tables_of_the_docs_are_the_lists(means):
    text = FORMS.read_text(encoding="utf-8")
    assert "\n".join(rows_of(means)) in text


def test_the_options_are_the_lists():
    import tse_onnx.cli.convert  # noqa: F401 - the room has a command of that name

    convert = sys.modules["tse_onnx.cli.convert"]
    assert tuple(way.name for way in MEANS) == convert.MEANS
    assert tuple(way.name for way in SPREADS) == convert.SPREADS


@pytest.mark.parametrize("opset", [11, 17, 20])
@pytest.mark.parametrize(("means", "upsample"), [(means, spread) for means in MEANS for spread in SPREADS])
def test_a_way_has_the_operators_that_it_names(means, upsample, opset):
    tilings = (Tiling(3), Tiling(5), Tiling(3, 5), Tiling(3, squeeze="running", step=2), Tiling(4, squeeze="middle"))
    model = every_size.model_of(Job(12, 10, tilings, upsample.name, means.name, opset))
    blocks = tse_onnx.find_blocks(model, kinds={"ge"})
    for block, tiling in zip(blocks, tilings, strict=True):
        made = tse_onnx.convert(
            model, plan=tse_onnx.Plan(None, {block.name: tiling}), kinds={"ge"}, means=means.name,
            upsample=upsample.name, verify=False,
        ).model  # fmt: skip
        cover = tiling.cover((12, 10))
        case = Case(cover, opset)
        if not means.fits(case) or not upsample.fits(Case(cover, opset, each_row=means.each_row)):
            continue
        old = {node.name for node in model.graph.node}
        added = {node.op_type for node in made.graph.node if node.name not in old and node.op_type != "Constant"}
        assert added <= {*means.operators, *upsample.operators}


def test_what_cannot_be_written_is_written_otherwise():
    model = every_size.model_of(Job(13, 10, (Tiling(3),), "view", "view", 17))
    other = tse_onnx.convert(model, rows=3, kinds={"ge"}, means="view", verify=False).model
    assert other == tse_onnx.convert(model, rows=3, kinds={"ge"}, verify=False).model


RUNNING = Tiling(3, squeeze="running", step=2)


@pytest.mark.parametrize(("tiling", "named", "means", "upsample"), [
    (Tiling(5), None, "gemm", "ones"),
    (Tiling(7, balanced=True), None, "pool", "full"),
    (RUNNING, None, "gemm", "ones"),
    (Tiling(None, 3), None, "pads", "resize"),
    (Tiling(5, 3), None, "pads", "resize"),
    (Tiling(5), "ones", "gemm", "ones"),
    (RUNNING, "ones", "gemm", "ones"),
    *((Tiling(5), name, "pads", name) for name in ("resize", "gather", "expand", "full")),
    *((RUNNING, name, "matmul", name) for name in ("resize", "gather", "expand", "full")),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("opset", [10, 17])
def test_what_is_taken_where_not_all_is_named(tiling, named, means, upsample, opset):
    model = every_size.model_of(Job(12, 10, (tiling,), "", "", opset))
    made = tse_onnx.convert(model, tiling=tiling, kinds={"ge"}, upsample=named, verify=False).model
    both = tse_onnx.convert(model, tiling=tiling, kinds={"ge"}, upsample=upsample, means=means, verify=False).model
    assert made == both


@pytest.mark.parametrize("name", ["views", "none"])
def test_a_name_that_there_is_not(name):
    model = every_size.model_of(Job(12, 10, (Tiling(3),), "", "", 17))
    for option, text in (("means", "means are computed by"), ("upsample", "gates are spread by")):
        with pytest.raises(tse_onnx.UsageError, match=f"{text} .*, not by {name}"):
            tse_onnx.convert(model, **{option: name})


def test_a_chain_of_pools_multiplies_up():
    for size in range(1, 500):
        found = factors(size)
        product = 1
        for factor in found:
            assert 1 <= factor <= 8
            product *= factor
        largest_prime = max(
            (p for p in range(2, size + 1) if size % p == 0 and all(p % q for q in range(2, p))), default=1
        )
        assert (product == size) == bool(found) == (largest_prime <= 7)


@pytest.mark.parametrize("means", MEANS, ids=lambda way: way.name)
@pytest.mark.parametrize("upsample", SPREADS, ids=lambda way: way.name)
def test_every_way_is_proved_and_found_and_undone(means, upsample):
    """On a whole network: verification, a second conversion, the way back by the record and by names."""
    import models

    digits = models.load("digits_se")
    draw = random.Random(f"{means.name} {upsample.name}")
    tiling = draw.choice([Tiling(8), Tiling(7), Tiling(3, squeeze="running")])
    made = tse_onnx.convert(digits, tiling=tiling, means=means.name, upsample=upsample.name)
    assert made.verification.passed
    assert (
        sum(block.status == "tiled" for block in tse_onnx.find_blocks(made.model))
        == made.report.buffering.totals.converted
    )
    again = tse_onnx.convert(made.model, tiling=tiling, verify=False)
    assert again.model == made.model
    assert tse_onnx.restore(made.model).model == digits
    bare = onnx.ModelProto()
    bare.CopyFrom(made.model)
    for node in bare.graph.node:
        del node.metadata_props[:]
    back = tse_onnx.restore(bare).model
    assert {node.op_type for node in back.graph.node} <= {node.op_type for node in digits.graph.node}
