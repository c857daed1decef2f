"""Tiles of divisors: pad-free, block by block, and said."""

from __future__ import annotations

import onnx
import pytest

import models
import tse_onnx
from tests.command import tse_onnx as run
from tests.command import validated
from tse_onnx import Plan, Tiling


def test_efficientnet_b2_holds_less_and_pads_nothing():
    """Maps of 130, 65, 33, 17 and 9 rows: the elements are those of the nearest divisors, worked out by hand."""
    model = models.load("efficientnet_b2_torchscript_17")
    ragged, even = (
        tse_onnx.convert(model, tiling=tiling, means="pads", verify=False)
        for tiling in (Tiling(7), Tiling(7, divisors=True))
    )
    assert (ragged.report.buffering.totals.after, even.report.buffering.totals.after) == (1_498_896, 1_039_632)
    assert _pads(ragged.model)
    assert not _pads(even.model)


def _pads(model):
    pools = [node for node in model.graph.node if node.op_type == "AveragePool"]
    assert pools
    return [node for node in pools for attribute in node.attribute if attribute.name == "pads" and any(attribute.ints)]


def test_report_and_plan_say_what_was_taken(tmp_path):
    model = tmp_path / "digits.onnx"
    models.save("digits_se", model)
    options = ("--rows", 7, "--divisors", "--no-dataflow")
    shown = validated(run("report", model, *options, "--format", "json").stdout, "report")
    assert shown["tiling"]["rows"] == 7
    assert shown["tiling"]["divisors"] is True
    assert [(block["shape"][2:], block["tile"], block["status"]) for block in shown["blocks"][:4]] == [
        ([32, 32], [8, 32], "converted"), ([16, 16], [8, 16], "converted"), ([16, 16], [8, 16], "converted"),
        ([8, 8], [8, 8], "unchanged"),
    ]  # fmt: skip
    assert [block["reason"] for block in shown["blocks"][1:4]] == [
        "7 does not divide 16, whose divisor nearest to it is 8",
        "7 does not divide 16, whose divisor nearest to it is 8",
        "a tile of 8 × 8 covers its map of 8 × 8: 7 does not divide 8, whose divisor nearest to it is 8",
    ]
    written = run("plan", model, *options[:3]).stdout.decode()
    assert '"/3/body/body.6" = { rows = 7, divisors = true }  # 36 × 32 × 32; 7 does not divide 32' in written
    assert Plan.loads(written).default == Tiling(7, divisors=True)


@pytest.mark.parametrize(
    "options", [("--squeeze", "running", "--rows", "3"), ("--balanced",), ("--squeeze", "recompute")]
)
def test_what_is_no_tile_takes_no_divisors(tmp_path, options):
    model = tmp_path / "digits.onnx"
    models.save("digits_se", model)
    done = run("report", model, "--divisors", *options)
    assert done.returncode == 2
    assert b"divisors" in done.stderr
    assert done.stderr.count(b"Error: ") == 1


def test_rows_that_divide_are_taken_as_they_are():
    model = models.load("digits_se")
    plain = tse_onnx.convert(model, tiling=Tiling(4), verify=False)
    even = tse_onnx.convert(model, tiling=Tiling(4, divisors=True), verify=False)
    assert [decision.reason for decision in even.blocks[:4]] == [None] * 4
    assert [_without_records(node) for node in even.model.graph.node] == [
        _without_records(node) for node in plain.model.graph.node
    ]


def _without_records(node):
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("metadata_props")
    return copy
