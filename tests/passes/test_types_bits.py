"""Every element type has a size, the same for the paper's metric and for streams."""

import pytest
from onnx import TensorProto

from tse_onnx.passes.graph.types import BITS, bits_of

REFUSED = ("FLOAT6E2M3", "FLOAT6E3M2")  # of six bits: wellformed.py refuses models that have them


@pytest.mark.parametrize("name", sorted({*TensorProto.DataType.keys()} - {"UNDEFINED", *REFUSED}))
def test_every_type_has_its_bits(name):
    assert TensorProto.DataType.Value(name) in BITS


def test_a_type_of_eight_bits_takes_eight():
    assert bits_of(TensorProto.FLOAT8E4M3FN) == 8
    assert bits_of(TensorProto.UNDEFINED) == 32
