"""How a vector of each sample lies after a Reshape along several axes."""

import pytest

from tse_onnx.passes.forms.descriptor import Descriptor

VECTOR = Descriptor("NC11", 32, None)
PARTS = Descriptor("NKK", 32, None, (2, 16))


@pytest.mark.parametrize(
    ("held", "target", "axes", "parts"),
    [
        (VECTOR, (-1, 1, 2, 16), "N1KK", (2, 16)),
        (VECTOR, (0, 4, -1), "NKK", (4, 8)),
        (VECTOR, (5, 2, 16, 1, 1), "NKK11", (2, 16)),  # the batch seen when exporting
        (PARTS, (-1, 32), "NC", ()),
        (PARTS, (0, 0, 0, 1), "NKK1", (2, 16)),
        (PARTS, (0, 4, 8), "NKK", (4, 8)),
        (Descriptor("NC11", 32, 3), (3, -1, 16), "NKK", (2, 16)),
    ],
)
def test_a_vector_lies_along_other_axes(held, target, axes, parts):
    assert held.regrouped(target) == Descriptor(axes, 32, held.batch, parts)


@pytest.mark.parametrize(
    ("held", "target"),
    [
        (VECTOR, (-1, 16)),  # two samples of one
        (VECTOR, (2, -1, 16)),  # of a batch that is not known
        (VECTOR, (-1, 2, -1)),
        (VECTOR, (2, 16)),
        (VECTOR, (1, -1, 2, 16)),
        (Descriptor("NC11", 32, 2), (4, 2, 8)),
        (Descriptor("NC11", 32, 2), (1, 2, 32)),
        (Descriptor("CN", 32, 2), (2, 2, 16)),
        (Descriptor("N*C", 32, 2), (2, 2, 16)),
        (Descriptor("NC", None, 2), (2, 2, 16)),
        (Descriptor("1NC", 32, 2), (0, 2, 2, 16)),
        (PARTS, (0, 0, 0, 0)),
    ],
)
def test_what_is_no_vector_of_each_sample_is_told(held, target):
    assert held.regrouped(target) is None
