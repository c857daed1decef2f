"""The harness that other tools are tried with: a tool that is wrong on purpose is caught, one that refuses is told apart
from one that refuses the original."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tests.runtimes import environment as environments
from tests.runtimes import trial
from tests.runtimes.__main__ import main
from tests.runtimes.environment import NotInstalled, command, environment
from tests.runtimes.forms import FORMS, ROWS, Form, chosen_for, written
from tests.runtimes.judge import Outcome, Result, beside, judged, reference, sqnr
from tests.runtimes.networks import SETTINGS, feeds, network
from tests.runtimes.server import Server
from tests.runtimes.table import as_json, faults, markdown
from tests.runtimes.tool import Loaded, Tool
from tests.runtimes.tools import tools
from tests.runtimes.trial import Cell, tried
from tse_onnx.targets.known import TARGETS

FLOAT32 = SETTINGS[0]
STRIPS = next(form for form in FORMS if form.name == "strips")

# Tools that are onnxruntime, each with its own fault; the first has none.
SERVER = """
import json, os, sys, time
import numpy as np, onnx, onnxruntime
for line in sys.stdin:
    job, fault = json.loads(line), sys.argv[1]
    model = onnx.load_model(job["models"][0])
    tiled = any("tiled_squeeze" in node.name for node in model.graph.node)
    if fault == "hangs" and tiled: time.sleep(60)
    if fault == "dies" and tiled: os._exit(9)
    if fault == "refuses all" or fault == "refuses tiles" and tiled:
        print(json.dumps({"refused": "no", "kind": "RuntimeError"}), flush=True); continue
    if fault == "ignores tiles" and tiled:
        model = onnx.load_model(sys.argv[2])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made = session.run(None, dict(np.load(job["feeds"][0])))
    if fault == "wrong everywhere": made = [value + 1 for value in made]
    if fault == "another shape" and tiled: made = [value[..., :1] for value in made]
    if fault == "not a number" and tiled: made = [value * np.nan for value in made]
    np.savez(job["outputs"], *made)
    print(json.dumps({"operators": len(model.graph.node), "ran": True, "seconds": []}), flush=True)
"""


def tool(name: str = "stand-in", **fields: object) -> Tool:
    return Tool(name, name, (), lambda model: Loaded(None), **fields)


@pytest.fixture
def outcomes(tmp_path):
    """What a faulty tool comes to, in single precision: the original, then strips that divide the maps and ragged ones."""
    script, original = tmp_path / "server.py", tmp_path / "original.onnx"
    script.write_text(SERVER)
    original.write_bytes(network(FLOAT32).SerializeToString())

    def found(fault: str) -> list[Outcome]:
        with Server([sys.executable, str(script), fault, str(original)], seconds=10) as server:
            return [cell.result.outcome for cell in tried(tool(), server, [STRIPS], ["float32"])]

    return found


RIGHT, ORIGINAL = Outcome.RIGHT, Outcome.ORIGINAL


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "expected"), [
    ("none", [RIGHT, RIGHT, RIGHT]),
    ("ignores tiles", [RIGHT, Outcome.WRONG, Outcome.WRONG]),
    ("another shape", [RIGHT, Outcome.WRONG, Outcome.WRONG]),
    ("not a number", [RIGHT, Outcome.WRONG, Outcome.WRONG]),
    ("refuses tiles", [RIGHT, Outcome.REFUSED, Outcome.REFUSED]),
    ("dies", [RIGHT, Outcome.CRASHED, Outcome.CRASHED]),
    ("refuses all", [Outcome.REFUSED, ORIGINAL, ORIGINAL]),
    ("wrong everywhere", [Outcome.WRONG, ORIGINAL, ORIGINAL]),
])  # fmt: skip
def test_a_fault_of_a_tool_is_told(outcomes, fault, expected):
    assert outcomes(fault) == expected


@pytest.mark.slow
def test_a_tool_that_hangs_is_ended(tmp_path):
    with Server([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.5) as server:
        assert "no answer" in server.ask({})["crashed"]
        assert "no answer" in server.ask({})["crashed"]  # by a new process


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.name)
def test_what_ignores_the_tiles_would_be_seen(setting):
    """Every form that is no identity is further from the original than what counts as equal, so no cell is empty."""
    model = network(setting)
    plain = reference(model, feeds(model, setting))[0]
    for form in FORMS:
        for rows in ROWS.values():
            made, converted = written(model, form, rows, setting)
            if converted and form.name != "recompute":
                assert sqnr(reference(made, feeds(made, setting))[0], plain) < setting.least - 3, (form.name, rows)


def test_every_way_to_write_a_block_is_tried():
    from tse_onnx.passes.lowering import MEANS, SPREADS

    options = [dict(form.options) for form in FORMS]
    assert {words["upsample"] for words in options if "upsample" in words} == {way.name for way in SPREADS}
    assert {words["means"] for words in options if "means" in words} == {way.name for way in MEANS}
    assert len({form.name for form in FORMS}) == len(FORMS)
    assert {form.name for form in chosen_for("ncnn")} == {form.name.partition(",")[0] for form in FORMS}


def test_the_ratio_of_signal_to_noise():
    one = np.array([1.0, 2.0, -2.0])
    assert sqnr(one, one) == 999
    assert sqnr(one, one * 1.1) == pytest.approx(20)
    assert sqnr(one, one * np.nan) == sqnr(np.zeros(3), one) == -999
    json.dumps(sqnr(one, np.array([np.inf, 0, 0])), allow_nan=False)


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.REFUSED, Outcome.CRASHED])
def test_what_the_original_fails_at_is_no_fault_of_the_form(outcome):
    converted, original = Result(outcome, 3.0, "why"), Result(Outcome.REFUSED, why="not known")
    assert beside(converted, original) == Result(Outcome.ORIGINAL, 3.0, "refused: not known")
    assert beside(converted, Result(Outcome.RIGHT, 120.0)) == converted
    assert beside(Result(Outcome.RIGHT, 120.0), original).outcome is Outcome.RIGHT


def test_what_no_tool_has_seen_is_not_refused_by_it(tmp_path):
    answer = {"refused": "Untranslated: pads", "kind": "Untranslated"}
    assert judged(answer, tmp_path / "none", [], 100).outcome is Outcome.UNTRANSLATED
    compiled = judged({"operators": 7, "ran": False}, tmp_path / "none", [], 100)
    assert compiled == Result(Outcome.COMPILED, operators=7)


CELLS = [
    Cell("stand-in", trial.ORIGINAL, "float32", "", 0, Result(RIGHT, 120.0, operators=10)),
    Cell("stand-in", "strips", "float32", "divides", 2, Result(RIGHT, 120.0, operators=90)),
    Cell("stand-in", "strips", "float32", "ragged", 2, Result(Outcome.WRONG, 25.0, operators=12)),
    Cell("stand-in", "frozen", "float32", "", 2, Result(ORIGINAL, why="refused: not known")),
]  # fmt: skip


def test_the_table_hides_nothing():
    text = markdown([tool(), tool("absent")], CELLS, {"absent": "absent cannot be installed here: no such package"}, [])
    assert "| strips | ✓ ×9.0 / **wrong** 25 |" in text
    assert "| frozen | o |" in text
    assert "| stand-in | 1 of 2 | strips: **wrong** if ragged |  |" in text
    assert "absent cannot be installed here" in text
    plain = as_json([tool()], CELLS, {}, [])
    assert [cell["outcome"] for cell in plain["cells"]] == ["right", "right", "wrong", "original fails"]
    json.dumps(plain, allow_nan=False)


def test_where_a_form_is_faulty():
    def cell(setting: str, rows: str, outcome: Outcome) -> Cell:
        return Cell("stand-in", "strips", setting, rows, 2, Result(outcome))

    wrong, refused, names = Outcome.WRONG, Outcome.REFUSED, ("float32", "QDQ")
    assert faults([cell(name, rows, wrong) for name in names for rows in ROWS]) == ["strips: **wrong**"]
    some = [cell("float32", rows, RIGHT) for rows in ROWS]
    assert faults([*some, *(cell("QDQ", rows, refused) for rows in ROWS)]) == ["strips: refused (QDQ)"]
    assert faults([*some, cell("QDQ", "divides", RIGHT), cell("QDQ", "ragged", refused)]) == [
        "strips: refused if ragged (QDQ)"
    ]
    assert faults([cell("QDQ", "divides", refused), cell("QDQ", "ragged", wrong)]) == [
        "strips: refused (QDQ)", "strips: **wrong** if ragged",
    ]  # fmt: skip
    assert faults(some) == []


@pytest.mark.parametrize(("words", "results", "code"), [
    ([], [RIGHT, Outcome.WRONG], 0),
    (["--target"], [RIGHT, RIGHT], 0),
    (["--target"], [RIGHT, Outcome.WRONG], 1),
    (["--target"], [RIGHT, Outcome.REFUSED], 1),
    (["--target"], [RIGHT, Outcome.CRASHED], 1),
    (["--target"], [Outcome.REFUSED, ORIGINAL], 0),
    (["--target"], [RIGHT, Outcome.UNWRITTEN], 0),
])  # fmt: skip
def test_a_fault_fails_the_run_for_targets(monkeypatch, tmp_path, capsys, words, results, code):
    def found(*given: object) -> Iterator[Cell]:
        for form, outcome in zip((trial.ORIGINAL, "strips"), results, strict=True):
            yield Cell("stand-in", form, "float32", "", 2, Result(outcome, 20.0))

    stand_in = tool(target="ncnn")
    monkeypatch.setattr("tests.runtimes.__main__.tools", lambda: {"stand-in": stand_in, "other": tool("other")})
    monkeypatch.setattr("tests.runtimes.__main__.environment", lambda *given: tmp_path)
    monkeypatch.setattr("tests.runtimes.__main__.tried", found)
    monkeypatch.setattr(sys, "argv", ["runtimes", "stand-in", *words, "--output", str(tmp_path / "found.json")])
    assert main() == code
    assert ("stand-in: strips, float32" in capsys.readouterr().out) == (
        results[1].value in ("wrong", "refused", "crashed")
    )
    assert len(json.loads((tmp_path / "found.json").read_text())["cells"]) == 2


def test_what_cannot_be_installed_is_said_and_fails_the_run(monkeypatch, tmp_path, capsys):
    absent = Tool("absent", "Absent", ("tse-onnx-no-such-package @ file:///nowhere.whl",), lambda model: Loaded(None))
    monkeypatch.setattr("tests.runtimes.__main__.tools", lambda: {"absent": absent})
    monkeypatch.setattr(environments, "_do", _failing)
    monkeypatch.setattr(sys, "argv", ["runtimes", "--folder", str(tmp_path)])
    assert main() == 1
    assert "absent cannot be installed here: no" in capsys.readouterr().out
    with pytest.raises(NotInstalled):
        environment(absent, tmp_path)  # nothing half made is taken for an environment


def _failing(one: Tool, words: list[str]) -> None:
    raise NotInstalled(f"{one.name} cannot be installed here: no")


def test_the_tools_are_data():
    found = tools()
    assert {"onnxruntime-1.20", "onnxruntime-1.32", "openvino", "ncnn", "opencv-4", "opencv-5"} <= found.keys()
    names = {setting.name for setting in SETTINGS}
    for one in found.values():
        assert one.target is None or one.target in TARGETS
        assert set(one.settings) <= names
        assert all("==" in word or ">=" in word or word.isidentifier() for word in one.requirements)


@pytest.mark.slow
def test_the_server_runs_a_tool_that_is_here(tmp_path):
    """onnxruntime of this environment, through the script that every tool is run by."""
    one = tools()["onnxruntime-1.32"]
    words = [sys.executable, *command(one, tmp_path)[1:]]
    with Server(words) as server:
        cells = list(tried(one, server, [STRIPS, Form("frozen", FORMS[-2].plan, cuts=False)], ["float32"]))
    assert [cell.result.outcome for cell in cells] == [RIGHT] * 4
    assert all(cell.result.operators for cell in cells)
    assert [cell.converted for cell in cells] == [0, 2, 2, 2]
