"""Lowered graphs are what their files say; `python -m tests.cases.lowered` writes them anew."""

import pytest
from onnx import printer

from tests.cases import read
from tests.cases.lowered import FILES, as_parsed, lowered
from tse_onnx.passes.blocks.choices import SQUEEZES
from tse_onnx.passes.lowering import MEANS, SPREADS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_block_becomes_what_its_file_says(file):
    case = read(file)
    made = as_parsed(lowered(case))
    assert printer.to_text(made) == printer.to_text(case.model), "python -m tests.cases.lowered writes it anew"


def test_every_form_has_a_file():
    fields = [field for file in FILES for field in read(file).fields]
    chosen = " ".join(value for name, value in fields if name == "choice")
    assert all(f'"squeeze": "{name}"' in chosen for name in SQUEEZES)
    assert {value for name, value in fields if name == "upsample"} == {way.name for way in SPREADS}
    assert {value for name, value in fields if name == "means"} == {way.name for way in MEANS}
