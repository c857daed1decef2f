"""The real exports: as many blocks as the networks have, the paper's buffers, and a trained network that stays good."""

import functools

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import models
import tse_onnx
from tests.running import session

ENTRIES = {entry.name: entry for entry in models.catalogue()}
PAPER = {  # from the paper, for tiles of seven rows
    "RegNetY-800MF": (1_078_784, 426_496),
    "EfficientNet-B0": (2_306_528, 749_504),
}


@functools.cache
def _model(name):
    return models.load(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_every_block_of_the_network_is_found(name):
    entry = ENTRIES[name]
    blocks = tse_onnx.find_blocks(_model(name))
    found = [block for block in blocks if block.status == "convertible"]
    assert len(found) == entry.se_modules
    assert sorted(block.shape[1:] for block in found) == sorted(entry.se_inputs)
    assert len({block.name for block in blocks}) == len(blocks)
    assert all(block.name for block in blocks)
    assert [block.refusal.code for block in blocks if block.refusal] == ["head"], "each has one classifier"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 7, 8])
@pytest.mark.parametrize("name", ENTRIES)
def test_buffers_follow_from_the_shapes_of_the_torch_network(name, rows):
    entry = ENTRIES[name]
    totals = tse_onnx.buffering(_model(name), rows=rows).totals
    assert totals.before == sum(c * h * w for c, h, w in entry.se_inputs)
    assert totals.after == sum(c * min(rows, h) * w for c, h, w in entry.se_inputs)
    assert (totals.before_bytes, totals.after_bytes) == (4 * totals.before, 4 * totals.after)
    assert totals.converted == sum(h > rows for _, h, _ in entry.se_inputs)
    assert totals.unchanged == entry.se_modules - totals.converted


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.network in PAPER])
def test_the_papers_own_figures(name):
    totals = tse_onnx.buffering(_model(name), rows=7).totals
    assert (totals.before, totals.after) == PAPER[ENTRIES[name].network]


def test_the_papers_networks_are_all_bundled():
    assert {entry.network for entry in ENTRIES.values()} >= set(PAPER)


@pytest.mark.parametrize("name", ENTRIES)
def test_added_macs_follow_from_the_weights(name):
    """(N − 1) · F, with F counted from the 1×1 weights that lie between each squeeze and its scale."""
    model = _model(name)
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Constant":
            shapes[node.output[0]] = list(node.attribute[0].t.dims)
    for figures in tse_onnx.buffering(model, rows=7).blocks:
        block = figures.decision.block
        if block.refusal:
            continue
        macs, waiting, seen = 0, [name for name in makers[block.scale.output].input if name != block.input], set()
        while waiting:
            node = makers.get(waiting.pop())
            if node is None or id(node) in seen or node.output[0] == block.squeeze.output:
                continue
            seen.add(id(node))
            waiting += list(node.input)
            if node.op_type == "Conv":
                macs += int(np.prod(shapes[node.input[1]]))
        height = block.shape[2]
        assert macs > 0
        assert figures.descriptors == -(-height // 7)
        assert figures.macs_added == (figures.descriptors - 1) * macs


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["efficientnet_b0_dynamo_18", "efficientnet_b0_tv_torchscript_17", "ghostnet_torchscript_20",
     "mobilenetv3_large_torchscript_11", "mobilenetv2_dynamo_18", "regnety_800mf_torchscript_11"],
)  # fmt: skip
def test_real_exports_convert_and_verify(name):
    model = _model(name)
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=7, threads=1)
    assert result.verification.passed
    assert model.SerializeToString() == before
    assert len(result.verification.blocks) == result.report.buffering.totals.converted
    onnx.checker.check_model(result.model, full_check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_a_second_conversion_finds_nothing_to_do(name):
    once = tse_onnx.convert(_model(name), rows=7, verify=False).model
    twice = tse_onnx.convert(once, rows=7, verify=False)
    assert twice.report.buffering.totals.converted == 0
    assert twice.model.SerializeToString() == once.SerializeToString()


def _accuracy(model, images, labels):
    opened = session(model)
    found = np.concatenate(
        [opened.run(None, {opened.get_inputs()[0].name: batch})[0].argmax(1) for batch in np.array_split(images, 8)]
    )
    return float(np.mean(found == labels))


@pytest.mark.slow
def test_a_trained_network_stays_accurate_with_tiles():
    """digits_se, trained on whole maps of 32 rows, on digits that it never saw."""
    model = _model("digits_se")
    images, labels = models.digits()
    original = _accuracy(model, images, labels)
    assert original > 0.95, "the trained network itself"
    result = tse_onnx.convert(model, rows=7)
    assert result.report.buffering.totals.converted == 4
    assert _accuracy(result.model, images, labels) > original - 0.03


@pytest.mark.slow
def test_drift_on_real_digits_is_reported_as_it_is(tmp_path):
    model = _model("digits_se")
    images, _ = models.digits()
    np.savez(tmp_path / "digits.npz", **{model.graph.input[0].name: images[:64]})
    result = tse_onnx.convert(model, rows=7, data=tmp_path / "digits.npz")
    (drift,) = result.verification.drift
    before, after = (session(one).run(None, {model.graph.input[0].name: images[:64]})[0].astype(np.float64)
                     for one in (model, result.model))  # fmt: skip
    assert drift.max_abs == pytest.approx(np.abs(after - before).max(), rel=1e-3)
    ratio = 10 * np.log10(np.square(before).sum() / np.square(after - before).sum())
    assert drift.sqnr_db == pytest.approx(ratio, abs=0.01)
    assert drift.top1_agreement == np.mean(before.argmax(1) == after.argmax(1))
    assert result.verification.samples == 64


def test_weights_of_the_bundled_models_are_those_of_the_original():
    model = _model("ghostnet_torchscript_20")
    converted = tse_onnx.convert(model, rows=7, verify=False).model
    assert len(converted.graph.initializer) == len(model.graph.initializer)
    for before, after in zip(model.graph.initializer, converted.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))
