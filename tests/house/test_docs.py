"""The documentation is true: its examples run, its lists are complete."""

import configparser
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tse_onnx.cli import main
from tse_onnx.passes.forms import squeeze
from tse_onnx.passes.reasons import CODES
from tse_onnx.version import VERSION

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"# prints (.*)$", re.MULTILINE)
ROUNDING = re.compile("largest error [^,]*")
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)")


def console(block: str, folder: Path) -> tuple[str, str]:
    """What a console block says that its commands print, and what they print."""
    lines = block.splitlines(keepends=True)
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    done = subprocess.run(
        ["sh"], input="".join(commands), cwd=folder, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return "".join(line for line in lines if not line.startswith("$ ")), done.stdout


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """An empty folder in which the command and the bundled models are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(squeeze, "READERS", squeeze.READERS)  # a page shows how to add to them
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    monkeypatch.setenv("PATH", os.pathsep.join([*scripts, os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.slow
def test_the_examples_print_what_the_page_says(page, shell):
    """The blocks of a page in order, in one folder and one namespace; rounding errors may differ between machines."""
    namespace: dict[str, object] = {"__name__": "example"}
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            wanted, got = console(block, shell)
        else:
            wanted = "".join(f"{line}\n" for line in PRINTS.findall(block))
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block, page.name, "exec"), namespace)
            got = printed.getvalue()
        assert ROUNDING.sub("largest error", got) == ROUNDING.sub("largest error", wanted), block


def test_every_reason_is_documented_and_no_other():
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted(CODES)


@pytest.mark.parametrize(
    "schema",
    [
        "inspect",
        "report",
        "evaluate",
        "verify",
        "sensitivity",
        "tune",
        "check",
        "targets",
        "diff",
        "doctor",
        "profile",
        "fold",
        "finetune",
        "quantisation",
        "noise",
    ],
)
def test_every_field_of_the_schemas_is_documented(schema):
    own = {
        "sensitivity": "tune",
        "tune": "tune",
        "check": "targets",
        "targets": "targets",
        "diff": "ci",
        "doctor": "cli",
        "profile": "costs",
        "fold": "costs",
        "finetune": "finetune",
        "quantisation": "quantisation",
        "noise": "noise",
    }
    pages = (own[schema],) if schema in own else ("report", "dataflow")
    text = "".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in pages)
    objects = [json.loads((ROOT / "docs" / f"{schema}.schema.json").read_text(encoding="utf-8"))]
    objects += objects[0]["$defs"].values()
    fields = {field for one in objects for field in one.get("properties", {})}
    if "configuration" in fields:  # of every object, and said once
        assert "`configuration`" in (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
        fields.remove("configuration")
    assert sorted(field for field in fields if f"`{field}`" not in text) == []


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_option_is_documented(command):
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {command}\n")[1].split("\n## ")[0]
    for name in options(main.commands[command]) - options(main):
        assert f"`{name}" in section, name


def options(command):
    """The long names of a command's options."""
    return {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--") and name != "--help"
    }


def test_the_options_of_every_command_are_documented_once():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = text.split("\n## Every command\n")[1].split("\n## ")[0]
    for name in options(main):
        assert f"`{name}`" in section, name
    for command in main.commands.values():
        assert {"--verbose", "--debug"} <= options(command)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{target}#{anchor}"


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(page):
    named = re.findall(r"`([\w./-]+/[\w.-]*\.\w+|[\w-]+(?:/[\w-]+)*/)`", (ROOT / page).read_text(encoding="utf-8"))
    assert named
    rooms = (ROOT, ROOT / "tse_onnx", ROOT / "passes")
    assert [name for name in named if not any((room / name).exists() for room in rooms)] == []


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert cited["version"] == VERSION
    assert (cited["title"], cited["license"]) == (setup["metadata"]["name"], setup["metadata"]["license"])
