"""Every graph in this folder: what is found in it is what its file says, and a conversion does what follows from that."""

import pytest

import tse_onnx
from tests.cases import FOLDER, read

FILES = sorted(FOLDER.glob("*.onnxtxt"))


def found(block):
    """A candidate as a case expects it."""
    if block.refusal:
        return f"refused {block.refusal.code}"
    return f"{block.kind} {' × '.join(map(str, (block.channels, *block.extents)))}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_case_is_what_its_file_says(file):
    case = read(file)
    assert case.text, "a case says what it is"
    assert {name for name, _ in case.fields} <= {"expect", "says"}
    blocks = tse_onnx.find_blocks(case.model)
    assert [found(block) for block in blocks] == case.all("expect")
    reasons = [block.reason for block in blocks if block.refusal]
    for reason in reasons:
        assert "'" in reason, "a reason names the node"
        assert "\n" not in reason
        assert len(reason) > 20
    for text in case.all("says"):
        assert any(text in reason for reason in reasons), reasons


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_case_is_converted_or_left_alone(file):
    model = read(file).model
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=5)
    assert model.SerializeToString() == before
    expected = [block for block in tse_onnx.find_blocks(model) if block.refusal is None]
    assert result.report.buffering.totals.converted == len(expected)
    if expected:
        assert result.verification.passed
        assert tse_onnx.convert(result.model, rows=5).model.SerializeToString() == result.model.SerializeToString()
        assert tse_onnx.restore(result.model).model.SerializeToString() == before
    else:
        assert result.model.SerializeToString() == before
