"""A sample of onnx's conformance cases, and how the whole of them is judged; all of them: `make conformance`."""

from __future__ import annotations

import os
import time

import pytest

from tests.conformance import known, steps
from tests.conformance.cases import cases_of
from tests.conformance.known import Entry
from tests.conformance.steps import NEITHER, Finding, findings
from tests.conformance.workers import Lost, worked

OPERATORS = (
    "concat", "conv", "flatten", "gemm", "globalaveragepool", "hardsigmoid", "pad", "relu", "scan", "slice",
    "softmax", "transpose",
)  # fmt: skip


@pytest.mark.slow
def test_a_sample_ends_as_it_is_listed(tmp_path):
    sample = cases_of(OPERATORS)
    assert len(sample) > 50
    found = []
    for number, case in enumerate(sample):
        folder = tmp_path / str(number)
        folder.mkdir()
        found += findings(case, folder)
    listed = known.read(known.PATH.read_text())
    new, passing = known.judged(listed, [case.name for case in sample], [one for one in found if one.step != NEITHER])
    assert not new
    assert not passing, "strike them off"
    assert {one.step for one in found} >= {"stream"}  # what is refused is noticed


@pytest.mark.parametrize("fault", ["numbers", "bytes", "exit"])
def test_a_fault_is_found(tmp_path, monkeypatch, fault):
    case = next(case for case in cases_of(["relu"]) if case.name == "node/test_relu")
    if fault == "numbers":
        right = steps._streamed
        monkeypatch.setattr(
            steps, "_streamed", lambda *given: {name: value + 0.01 for name, value in right(*given).items()}
        )
    else:
        right = steps.tse_onnx

        def wrong(step, *words):
            done = right(step, *words)
            if fault == "bytes" and step == "convert":
                words[1].write_bytes(words[1].read_bytes() + b"\0")
            elif fault == "exit" and step == "report":
                done.returncode = 70
            return done

        monkeypatch.setattr(steps, "tse_onnx", wrong)
    (found,) = findings(case, tmp_path)
    assert (found.step, found.code) == {"numbers": ("run", 1), "bytes": ("convert", 0), "exit": ("report", 70)}[fault]


LIST = """# about

[run 1] wrong
node/a
node/b

[stream 2] refused: none
node/a
"""


def test_the_list_may_only_shrink():
    listed = known.read(LIST)
    assert listed == {Entry("node/a", "run", 1): "wrong", Entry("node/b", "run", 1): "wrong",
                      Entry("node/a", "stream", 2): "refused: none"}  # fmt: skip
    found = [Finding("node/a", "run", 1), Finding("node/b", "run", 70), Finding("node/c", "run", 1)]
    new, passing = known.judged(listed, ["node/a", "node/b", "node/c"], found)
    assert new == [Finding("node/b", "run", 70), Finding("node/c", "run", 1)]  # another exit code is another fault
    assert passing == [Entry("node/a", "stream", 2), Entry("node/b", "run", 1)]
    assert known.judged(listed, ["node/c"], []) == ([], [])  # what did not run is not judged
    assert known.struck(LIST, passing) == "# about\n\n[run 1] wrong\nnode/a\n"
    assert known.struck(LIST, []) == LIST
    whole = known.PATH.read_text()
    assert known.struck(whole, []) == whole


@pytest.mark.parametrize("text", ["[run] why\na", "[fly 1] why\na", "[run 1] \na", "a", "[run 1] x\na\na"])
def test_a_list_without_reasons_is_none(text):
    with pytest.raises(ValueError):
        known.read(text)


def _work(item):
    if item == 3:
        os._exit(9)
    if item == 5:
        time.sleep(60)
    return item * item


def test_processes_that_die_or_hang_are_told_and_hinder_nobody():
    found = dict(worked(_work, list(range(12)), 2, 1.0))
    assert {item: value for item, value in found.items() if not isinstance(value, Lost)} == {
        item: item * item for item in range(12) if item not in (3, 5)
    }
    assert "ended with 9" in str(found[3])
    assert "1 second" in str(found[5])
