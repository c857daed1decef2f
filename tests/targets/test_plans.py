"""Reports and plans for a target: what no form of fits is left out, and the plan says whom it is for."""

from __future__ import annotations

import pytest

import models
import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as run
from tse_onnx import Limit, Plan, Recompute, Selection, Target, Tiling, UsageError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "digits.onnx"
    models.save("digits_se", path)
    return path


def own(*operators):
    return Target("t", "a target", (Limit(operators, "operator", "a page", "1.0"),))


def test_a_report_is_what_the_conversion_comes_to(digits, tmp_path):
    for options in (("--rows", "7"), ("--rows", "8"), ("--rows", "16:4", "--first", "2")):
        words = (*options, "--target", "rknn")
        said = validated(run("report", digits, *words, "--no-dataflow", "--format", "json").stdout, "report")
        written = tmp_path / "written.json"
        run("convert", digits, tmp_path / "out.onnx", *words, "--no-verify", "--report", written)
        done = validated(written.read_text(), "report")
        assert said["target"] == done["target"] == "rknn"
        assert "target_note" not in said
        assert said["blocks"] == done["blocks"]
    assert "target" not in validated(run("report", digits, "--format", "json").stdout, "report")


def test_where_tiles_save_nothing_the_report_says_so(digits):
    done = run("report", digits, "--rows", "2", "--target", "ethos-u", "--input-shape", "1,1,32,32", "--format", "json")
    assert "--squeeze recompute" in validated(done.stdout, "report")["target_note"]
    assert done.stderr.decode().startswith("Note on ethos-u: tiles save nothing here")
    assert done.stderr.count(b"\n") == 1


def test_a_plan_names_its_target_and_converts_for_it(digits, tmp_path):
    """Gates by Resize are what this one does not take."""
    plan = tmp_path / "plan.toml"
    assert run("plan", digits, "--rows", "8", "--target", "tflite-edgetpu", "-o", plan).returncode == 0
    read = Plan.load(plan)
    assert (read.target, read.default) == ("tflite-edgetpu", Tiling(8))
    run("convert", digits, tmp_path / "out.onnx", "--plan", plan, "--no-verify")
    assert tse_onnx.check(tmp_path / "out.onnx", "tflite-edgetpu").passed
    assert tse_onnx.check(tse_onnx.convert(digits, plan=read, verify=False).model, "tflite-edgetpu").passed
    other = tse_onnx.convert(digits, plan=read, target="rknn", upsample="resize", means="pads", verify=False)
    assert not tse_onnx.check(other.model, "tflite-edgetpu").passed


def test_what_does_not_fit_is_kept_with_the_limit_as_note(digits):
    pads = Limit(("AveragePool",), "uncounted_pads", "a page", "1.0", most=0)
    overhang = Limit(("AveragePool",), "overhang", "a page", "1.0", most=0)
    others = own("ReduceMean", "Split").limits
    target = tse_onnx.Target("board", "a board", (pads, overhang, *others))
    made = tse_onnx.plan_for(digits, Plan(Tiling(7)), target, selection=Selection(rows=(("/3/body/body.6", 8),)))
    assert made.choices["/3/body/body.6"] == Tiling(8)
    left = {name for name, choice in made.choices.items() if choice is None}
    assert left == {"/4/body/body.6", "/5/body/body.6", "/6/body/body.6"}
    assert all("an operator that is not taken (a page)" in made.notes[name] for name in left)
    assert Plan.loads(made.dumps()) == made
    figures = tse_onnx.buffering(digits, plan=made)
    assert figures.totals.refused == tse_onnx.buffering(digits).totals.refused
    assert figures.totals.converted == 1


def test_a_target_without_a_name_is_none_of_the_plan(digits):
    assert tse_onnx.plan_for(digits, Plan(), own("CumSum")).target is None
    assert tse_onnx.plan_for(digits, Plan(), tse_onnx.Target("rknn", "another", own("CumSum").limits)).target is None
    assert tse_onnx.buffering(digits, target=own("AveragePool", "ReduceMean", "MatMul", "Gemm", "Slice", "Split")
                              ).totals.converted == 0  # fmt: skip


def test_exact_choices_within_limits(digits):
    """A recomputed block has copies of its network's own operators, so a target without them gets none."""
    free = tse_onnx.exact_plan(digits, 0.1)
    assert any(isinstance(choice, Recompute) for choice in free.plan.choices.values())
    assert tse_onnx.exact_plan(digits, 0.1, target="rknn").plan.choices == free.plan.choices
    with pytest.raises(tse_onnx.CheckFailed, match="do not reach"):
        tse_onnx.exact_plan(digits, 0.1, target=own("Conv"))
    text = run("plan", digits, "--exact", "--reduce", "10%", "--target", "rknn").stdout.decode()
    assert Plan.loads(text).target == "rknn"


@pytest.mark.parametrize(("words", "said"), [
    (["report", "--target", "ascent"], "not 'ascent'; did you mean ascend?"),
    (["plan", "--target", "missing.toml"], "cannot read the target missing.toml"),
])  # fmt: skip
def test_bad_words(digits, words, said):
    assert said in refused(run(words[0], digits, *words[1:]))


@pytest.mark.parametrize(("line", "said"), [
    ("target = 3", "target is 3, not a name or a file"),
    ('target = ""', "not a name or a file"),
])  # fmt: skip
def test_a_plan_with_a_bad_target(line, said):
    with pytest.raises(UsageError, match=said):
        Plan.loads(f'schema = "tse-onnx/plan/1"\n{line}\n')


def test_a_plan_for_a_target_that_there_is_not(digits):
    with pytest.raises(UsageError, match="not 'gone'"):
        tse_onnx.convert(digits, plan=Plan(target="gone"), verify=False)
