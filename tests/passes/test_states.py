"""The states of a block and of a decision are types: what a state has not cannot be given to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import models
import tse_onnx
from tests.graphs import se_model
from tse_onnx.passes.blocks.block import Convertible, Refused, Tiled
from tse_onnx.passes.reasons import Refusal

REFUSAL = Refusal("head", "is a head")


@pytest.fixture(scope="module")
def poolings():
    model = models.load("digits_se")
    done = tse_onnx.convert(model, rows=7, verify=False).model
    return (*tse_onnx.find_blocks(model), *tse_onnx.find_blocks(done))


def test_every_pooling_has_the_type_of_its_status(poolings):
    kinds = {"convertible": Convertible, "tiled": Tiled, "refused": Refused}
    assert {block.status for block in poolings} == set(kinds)
    for block in poolings:
        assert type(block) is kinds[block.status]
        assert isinstance(block, tse_onnx.Block)
        assert (block.refusal is not None, block.tiled is not None) == (
            block.status == "refused",
            block.status == "tiled",
        )


def test_the_same_search_finds_the_same_blocks(poolings):
    again = tse_onnx.find_blocks(models.load("digits_se"))
    assert again == poolings[: len(again)]
    assert len(set(again)) == len(again)


def test_a_convertible_block_cannot_be_made_a_refused_one(poolings):
    block = next(block for block in poolings if isinstance(block, Convertible))
    with pytest.raises((TypeError, ValueError), match="refusal"):
        replace(block, refusal=REFUSAL)
    with pytest.raises(TypeError, match="anatomy"):
        Convertible(block.name, block.kind, block.squeeze, block.scale, block.input, block.shape, block.dtype)  # type: ignore[call-arg]


def test_what_is_refused_at_the_size_of_the_checks_is_not_written_unchecked():
    """Where sizes stay open in the model, a block may be refused only at the size that is given."""
    model = se_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[2].dim_param = "H"
    shapes = {"x": (1, 8, 2**24 + 1, 12)}
    result = tse_onnx.convert(model, rows=4, dynamic=True, input_shapes=shapes, verify=False)
    (decision,) = result.blocks
    assert (decision.status, decision.refusal, decision.block.refusal.code) == (
        "refused",
        decision.block.refusal,
        "shape",
    )
    assert result.model == model
