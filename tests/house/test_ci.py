"""What other repositories take from this one for their CI: the action, the hooks, the image; run as far as it goes here."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import yaml

from tests.graphs import network
from tse_onnx.cli import main
from tse_onnx.cli.each import each
from tse_onnx.installation.extras import EXTRAS

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
INSTALL, RUN = ACTION["runs"]["steps"]


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(28, 14, 7), tmp_path / "net.onnx")
    return tmp_path


def run(step, folder, **inputs):
    """A step of the action as a runner carries it out: expressions filled in, the script given to bash with -e."""
    known = {f"inputs.{name}": str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
    known |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
    known["github.action_path"] = str(ROOT)
    assert not EXPRESSION.search(step["run"])
    env = {name: EXPRESSION.sub(lambda match: known[match[1]], text) for name, text in step["env"].items()}
    files = {name: folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.touch()
    assert step["shell"] == "bash"
    (folder / "step.sh").write_text(step["run"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", folder / "step.sh"],
        cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | env | {name: str(file) for name, file in files.items()},
    )  # fmt: skip
    return done, *(file.read_text(encoding="utf-8") for file in files.values())


def test_the_action_uses_each_of_its_inputs():
    assert ACTION["runs"]["using"] == "composite"
    used = {name for step in (INSTALL, RUN) for text in step["env"].values() for name in EXPRESSION.findall(text)}
    assert used == {f"inputs.{name}" for name in ACTION["inputs"]} | {"github.action_path"}
    assert all(about["description"] for about in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))
    assert [about["value"] for about in ACTION["outputs"].values()] == [f"${{{{ steps.{RUN['id']}.outputs.report }}}}"]


def test_the_action_installs_this_package(folder):
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    done, *_ = run(INSTALL, folder, python=str(python))
    assert done.stdout.split("\n")[:-1] == ["-m", "pip", "install", "--quiet", str(ROOT)]


@pytest.mark.slow
def test_the_action_converts_and_says_what_changed(folder):
    inputs = {"python": sys.executable, "model": "net.onnx", "output": "out.onnx"}
    done, out, summary = run(RUN, folder, **inputs, options="--rows 7 --exclude 'block0*'", min_saved="12")
    assert done.returncode == 0, done.stderr
    assert out == "report=tse-onnx.json\n"
    report = json.loads((folder / "tse-onnx.json").read_text())
    assert report["verification"]["passed"]
    assert [gate["passed"] for gate in report["quality_gates"]] == [True]
    assert (folder / "out.onnx").exists()
    assert "| **total** |" in summary
    inputs |= {"report": "new.json", "baseline": "tse-onnx.json"}
    done, out, summary = run(RUN, folder, **inputs, options="--rows 3")
    assert done.returncode == 0, done.stderr
    assert out.endswith("report=new.json\n")
    assert "| kept | tile 3 rows |" in summary
    assert "| tile 7 rows | tile 3 rows |" in summary


@pytest.mark.slow
@pytest.mark.parametrize("output", ["", "out.onnx"], ids=["report", "convert"])
def test_the_action_fails_where_a_bound_is_missed(folder, output):
    inputs = {"python": sys.executable, "model": "net.onnx", "output": output}
    done, out, summary = run(RUN, folder, **inputs, options="--rows 7", max_buffer="1KB", max_memory="1GiB")
    assert done.returncode == 1
    assert "more than the bound of 1,000" in done.stderr
    assert "Missed: " in summary
    assert "Passed: " in summary
    assert out == ""
    assert not (folder / "tse-onnx.json").exists()
    assert not (folder / "out.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "inputs",
    [
        {"options": "--rows '7"},
        {"options": "--rows 7; touch there"},
        {"options": "$(touch there)"},
        {"model": "$(touch there).onnx"},
        {"max_buffer": "`touch there`"},
    ],
    ids=str,
)
def test_what_is_wrong_with_an_input_fails_and_is_not_run(folder, inputs):
    given = {"python": sys.executable, "model": "net.onnx", **inputs}
    done, *_ = run(RUN, folder, **given)
    assert done.returncode != 0
    assert not (folder / "there").exists()


def test_the_hooks_are_commands():
    for hook in HOOKS.values():
        assert hook.keys() == {"id", "name", "description", "entry", "language", "files"}
        assert hook["language"] == "python"
        assert re.search(hook["files"], "models/net.onnx")
        *words, command = shlex.split(hook["entry"])
        assert words == ["python", "-m", "tse_onnx.cli.each"]
        assert command in main.commands


@pytest.mark.slow
def test_a_hook_looks_at_every_model(folder, monkeypatch, capfd):
    onnx.save(network(14, 7), folder / "small.onnx")
    monkeypatch.chdir(folder)
    _, _, _, command = shlex.split(HOOKS["tse-onnx-report"]["entry"])
    args = [command, "--rows", "7", "--no-dataflow", "--max-buffer", "6KB"]
    assert each([*args, "small.onnx"]) == 0
    assert each([*args, "net.onnx", "small.onnx"]) == 1
    assert each([*args, "--", "net.onnx", "missing.onnx"]) == 2
    said = capfd.readouterr()
    assert said.out.count("net.onnx:") == 2
    assert said.out.count("small.onnx:") == 2
    assert said.err.count("Error: ") == 3
    assert each(args) == 0


def test_the_image_is_made_of_what_is_there():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert [word for word, _ in steps] == ["FROM", "COPY", "RUN", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"]
    said = dict(steps)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = re.fullmatch(r"python:([\d.]+)-slim", said["FROM"])[1]
    assert f"Programming Language :: Python :: {version}" in setup["metadata"]["classifiers"]
    source, target = said["COPY"].split()
    assert source == "."
    installed, extras = re.search(r"pip install --no-cache-dir '(.*)\[(.*)\]'", said["RUN"]).groups()
    assert installed == target
    assert set(extras.split(",")) <= EXTRAS.keys()
    (command,) = json.loads(said["ENTRYPOINT"])
    assert f"{command} = tse_onnx.cli:main" in setup["options.entry_points"]["console_scripts"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"passes", "tse_onnx", "backend", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} & set(ignored)


def test_the_page_shows_the_action_and_the_hooks_as_they_are():
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "ci.md").read_text(), re.MULTILINE | re.DOTALL)
    steps, hooks = map(yaml.safe_load, blocks)
    (used,) = (step for step in steps if step["uses"].startswith("OWNER/tse-onnx@"))
    assert used["with"].keys() <= ACTION["inputs"].keys()
    assert {name for name, about in ACTION["inputs"].items() if about.get("required")} <= used["with"].keys()
    assert f"steps.{used['id']}.outputs." in steps[-1]["with"]["path"]
    (repository,) = hooks["repos"]
    for hook in repository["hooks"]:
        command = main.commands[HOOKS[hook["id"]]["entry"].split()[-1]]
        known = {name for option in command.params for name in option.opts}
        assert {word for word in hook["args"] if word.startswith("--")} <= known


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_the_check_runs_what_each_of_its_parts_does():
    """What one of the targets for other people's software tests and installs, their sum does, which the check runs."""
    said = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert said == ["test", "conformance", "test-others"]
    parts = ("test-tools", "test-torch", "test-adapters", "test-browser", "site")
    every, *others = [
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for target in ("test-others", *parts)
    ]

    def words(recipe):
        extras = {name for found in re.findall(r"\.\[([\w,-]+)\]", recipe) for name in found.split(",")}
        return set(re.findall(r"tests/[\w/.]+|\w+==[\d.]+|mkdocs build --strict", recipe)) | extras

    for part, recipe in zip(parts, others, strict=True):
        assert any(word.startswith("tests/") for word in words(recipe)), part
        assert words(recipe) <= words(every), part
