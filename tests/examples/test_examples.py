"""The examples run as they lie there, and print what their comments say."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PRINTS = re.compile(r"# prints (.*)$", re.MULTILINE)

pytestmark = pytest.mark.slow


def ran(name, folder, *arguments):
    words = [sys.executable, EXAMPLES / name, *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    return subprocess.run([str(word) for word in words], cwd=folder, env=env, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize("script", sorted(file.name for file in EXAMPLES.glob("*.py")))
def test_a_script_prints_what_it_says(script, tmp_path):
    done = ran(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == PRINTS.findall((EXAMPLES / script).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("bound", "code", "says"), [("70", 1, "less than the 70 % asked for"), ("-1", 2, "per cent")])
def test_a_job_that_misses_its_bound_fails_and_writes_nothing(tmp_path, bound, code, says):
    done = ran("convert_in_ci.py", tmp_path, bound)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert says in line
    assert [file.name for file in tmp_path.iterdir()] == ["digits.onnx"]


@pytest.mark.parametrize("notebook", sorted(file.name for file in EXAMPLES.glob("*.ipynb")))
def test_the_cells_of_a_notebook_print_what_they_say(notebook, tmp_path, monkeypatch):
    """In order and in one namespace; outputs are kept out of it, so that a run leaves nothing to compare."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    stored = json.loads((EXAMPLES / notebook).read_text(encoding="utf-8"))
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in stored["cells"]}) == len(stored["cells"])
    namespace = {"__name__": "__main__"}
    for cell in stored["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            source = "".join(cell["source"])
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(source, f"{notebook}:{cell['id']}", "exec"), namespace)
            assert printed.getvalue().splitlines() == PRINTS.findall(source), cell["id"]
