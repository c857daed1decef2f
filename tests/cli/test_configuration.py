"""Defaults of options out of a file: the nearest upward, what the command line says wins, mistakes are one line."""

import html
import json
import os
import re
import shlex

import numpy as np
import pytest

import models
from tests.command import refused, tse_onnx, validated


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    models.save("digits_se", inner / "net.onnx")
    return inner


def told(folder, *words):
    done = tse_onnx(*words, "--format", "json", cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def rows_of(folder, *words, before=()):
    found = told(folder, *before, "report", "net.onnx", "--no-dataflow", *words)
    return [block["tile"][0] for block in found["blocks"] if block["status"] == "converted"]


@pytest.mark.parametrize(
    ("name", "table"), [("pyproject.toml", "[tool.tse-onnx]\n"), ("tse-onnx.toml", "")], ids=["shared", "own"]
)
def test_the_nearest_file_gives_defaults_and_the_command_line_wins(folder, name, table):
    (folder.parent / name).write_text(table + "rows = 3\n")
    assert rows_of(folder) == [3] * 4
    assert rows_of(folder, "--rows", 5) == [5] * 4
    assert rows_of(folder, "--tile", "4x4") == [4] * 4  # which excludes rows
    assert rows_of(folder, before=("--no-config",)) == [7] * 4
    (folder / "pyproject.toml").write_text("[project]\nname = 'tse-onnx'\n")  # has no table, so it is none
    assert rows_of(folder) == [3] * 4
    (folder / "tse-onnx.toml").write_text("rows = 2\n")
    assert rows_of(folder) == [2] * 4
    assert rows_of(folder, before=("--config", f"../{name}")) == [3] * 4


def test_a_command_has_defaults_of_its_own(folder):
    (folder / "tse-onnx.toml").write_text('rows = ["3", "16:2"]\n[plan]\nrows = 4\n[report]\nkinds = ["se", "eca"]\n')
    assert rows_of(folder) == [3, 2, 2, 3]
    assert b"default = { rows = 4 }" in tse_onnx("plan", "net.onnx", cwd=folder).stdout
    plan = tse_onnx("--no-config", "plan", "net.onnx", "--rows", 6, cwd=folder).stdout
    (folder / "plan.toml").write_bytes(plan)
    assert rows_of(folder, "--plan", "plan.toml") == [6] * 4


def test_files_are_named_from_the_folder_of_the_configuration(folder):
    (folder.parent / "board.toml").write_text('grain = "pixel"\n')
    (folder.parent / "tse-onnx.toml").write_text('machine = "board.toml"\n')
    assert tse_onnx("stream", "net.onnx", "--no-run", cwd=folder).returncode == 0
    assert "board.toml" in refused(tse_onnx("--no-config", "stream", "net.onnx", "--machine", "board.toml", cwd=folder))


def test_the_log_says_what_was_found(folder):
    (folder / "tse-onnx.toml").write_text("[report]\nrows = 3\ndataflow = false\n")
    for words in (("-v", "report"), ("report", "-v")):
        log = tse_onnx(*words, "net.onnx", cwd=folder).stderr.decode()
        assert log.count("defaults of tse-onnx.toml: report: rows = 3, dataflow = False") == 1


MISTAKES = [
    ("rowz = 3", "no command has an option 'rowz'; did you mean rows?"),
    ("[reprot]\nrows = 3", "no command is called 'reprot'; did you mean report?"),
    ("[report]\nrow = 3", "report has no option 'row'; did you mean rows?"),
    ("[inspect]\nrows = 3", "inspect has no option 'rows'"),
    ("dataflow = 3", "dataflow has to be true or false, not 3"),
    ("rows = true", "rows has to be a number or a text"),
    ("rows = { a = 1 }", "no command is called 'rows'"),
    ("[report]\nrows = { a = 1 }", "rows has to be a number or a text"),
    ("rows = 'x'", "'x' is not K, H:K or NAME=K"),
    ("[report", "is not TOML"),
    ("verbose = 2", "no command has an option 'verbose'"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_are_one_line(folder, text, said):
    (folder / "tse-onnx.toml").write_text(text + "\n")
    assert said in refused(tse_onnx("report", "net.onnx", cwd=folder))


@pytest.mark.parametrize("text", ["output = 'a'", "[stream]\ncsv = 'a'", "[tune]\nscheduler = 'tcp://10.0.0.5:8786'"])
def test_a_file_that_is_found_sends_nothing_anywhere(folder, text):
    (folder / "tse-onnx.toml").write_text(text + "\n")
    assert "on the command line alone" in refused(tse_onnx("stream", "net.onnx", "--no-run", cwd=folder))
    (folder / "tse-onnx.toml").rename(folder / "mine.toml")
    assert tse_onnx("--config", "mine.toml", "stream", "net.onnx", "--no-run", cwd=folder).returncode == 0
    assert (folder / "a").exists() == ("csv" in text)


def test_a_file_that_is_named_has_to_be_there(folder):
    assert "nowhere.toml" in refused(tse_onnx("--config", "nowhere.toml", "inspect", "net.onnx", cwd=folder))
    assert "exclude" in refused(tse_onnx("--config", "a.toml", "--no-config", "inspect", "net.onnx", cwd=folder))


USED = {
    "report": (("net.onnx",), "report"),
    "convert": (("net.onnx", "out.onnx"), "report"),
    "stream": (("net.onnx",), "stream"),
    "evaluate": (("net.onnx", "--data", "x.npz"), "evaluate"),
    "inspect": (("net.onnx",), "inspect"),
    "check": (("net.onnx", "--target", "tensorrt"), "check"),
    "profile": (("net.onnx",), "profile"),
}
TABLE = """rows = ["3", "16:2"]
run = false
machine = "board.toml"
kinds = ["se", "eca"]
input-shape = "input:2,1,32,32"
dataflow = true
by-stage = true
top = 3
[evaluate]
rows = 5
"""
# What each of the commands takes of it, in the order of the table.
TAKEN = {
    "report": {"rows", "machine", "kinds", "input-shape", "dataflow"},
    "convert": {"rows", "machine", "kinds", "input-shape", "dataflow"},
    "stream": {"run", "machine", "input-shape", "top"},
    "evaluate": {"rows", "kinds", "input-shape", "by-stage"},
    "inspect": {"kinds", "input-shape"},
    "check": {"input-shape"},
    "profile": {"input-shape"},
}


@pytest.fixture
def configured(folder):
    images, _ = models.digits()
    np.savez(folder / "x.npz", input=images[:8])
    (folder.parent / "board.toml").write_text("bits = 8\n")
    (folder.parent / "tse-onnx.toml").write_text(TABLE)
    return folder


@pytest.mark.parametrize("command", USED)
def test_a_report_names_the_file_and_what_came_from_it(configured, command):
    words, schema = USED[command]
    found = validated(tse_onnx(command, *words, "--format", "json", cwd=configured).stdout, schema)
    assert found["configuration"]["file"] == os.path.join("..", "tse-onnx.toml")
    options = found["configuration"]["options"]
    assert set(options) == TAKEN[command]
    assert options.get("rows") in (None, 5 if command == "evaluate" else ["3", "16:2"])
    plain = validated(tse_onnx("--no-config", command, *words, "--format", "json", cwd=configured).stdout, schema)
    assert "configuration" not in plain


def test_what_the_command_line_says_and_what_nothing_is_made_of_did_not_come_from_the_file(configured):
    found = told(configured, "report", "net.onnx", "--cols", 4, "--machine", "ideal")
    assert set(found["configuration"]["options"]) == {"kinds", "input-shape", "dataflow"}
    assert tse_onnx("convert", "net.onnx", "out.onnx", "--no-verify", cwd=configured).returncode == 0
    (configured.parent / "tse-onnx.toml").write_text('rows = 3\nmachine = "ideal"\n')
    assert "configuration" not in told(configured, "evaluate", "net.onnx", "out.onnx", "--data", "x.npz")
    assert "configuration" not in told(configured, "verify", "net.onnx", "out.onnx")
    found = told(configured, "convert", "net.onnx", "other.onnx", "--no-verify", "--report", "r.json")
    assert found["configuration"]["options"] == {"rows": 3}
    assert json.loads((configured / "r.json").read_text())["configuration"] == found["configuration"]


@pytest.mark.parametrize("command", ["report", "convert", "stream", "evaluate", "profile"])
@pytest.mark.parametrize("before", [(), ("--config", "../tse-onnx.toml"), ("-v",)], ids=["found", "named", "verbose"])
def test_the_command_that_gets_a_document_again_is_complete_without_the_file(configured, command, before):
    words, _ = USED[command]
    done = tse_onnx(*before, command, *words, "--html", "a.html", cwd=configured)
    assert done.returncode == 0, done.stderr.decode()
    shown = (configured / "a.html").read_text()
    assert f"<title>net.onnx: tse-onnx {command}</title>" in shown
    assert "Options from ../tse-onnx.toml: " in html.unescape(shown)
    again = shlex.split(html.unescape(re.search(r"<h2>Get it again</h2>\s*<pre[^>]*>(.*?)</pre>", shown)[1]))
    assert again[:3] == ["tse-onnx", "--no-config", command]
    (configured.parent / "tse-onnx.toml").unlink()
    asked = tse_onnx(*again[1:-2], "--html", "b.html", cwd=configured)
    assert asked.returncode == 0, asked.stderr.decode()
    same = (configured / "b.html").read_text()

    def body(text):
        """The document but for how it was made, and what took its time."""
        found = re.sub(r"<footer>.*</footer>", "", text, flags=re.DOTALL)
        return re.sub(r"in [0-9.]+ s, [0-9.]+ times", "", found)

    assert body(same) == body(shown)
