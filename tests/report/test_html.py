"""A report as one HTML file: the figures of the JSON, names that are no markup, nothing from outside."""

import base64
import hashlib
import html
import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import onnx
import pytest

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as run
from tests.graphs import se_model
from tse_onnx.report.html.front import front_figure

HOSTILE = "</script><script>alert(1)</script>\"'&amp;\u202e\n" + "x" * 300


class Document(HTMLParser):
    """The parts of a document that tests look at; open elements are closed in order."""

    VOID = frozenset({"meta", "link", "input", "br", "rect", "line", "path", "polygon", "polyline"})

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text, self.tables = [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("html")
    models.save("digits_se", made / "digits.onnx")
    np.save(made / "digits.npy", models.digits()[0][:48])
    return made


COMMANDS = {
    "report": ("report", "digits.onnx", "--rows", "7"),
    "convert": ("convert", "digits.onnx", "tiled.onnx", "--rows", "7", "--data", "digits.npy"),
    "profile": ("profile", "digits.onnx", "--array", "squeezelerator8"),
    "stream": ("stream", "digits.onnx", "--no-run"),
    "evaluate": ("evaluate", "digits.onnx", "--rows", "7", "--data", "digits.npy"),
    "noise": ("noise", "digits.onnx", "--rows", "7", "--data", "digits.npy", "--limit", "8"),
    "tune": (
        "tune", "digits.onnx", "--data", "digits.npy", "--reduce", "30%", "--rows", "4,8", "--trials", "2", "--points",
        "3", "--no-cache",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def documents(folder):
    made = {}
    for name, words in COMMANDS.items():
        done = run(*words, "--html", f"{name}.html", "--format", "json", cwd=folder)
        assert done.returncode == 0, done.stderr
        made[name] = (folder / f"{name}.html").read_text(encoding="utf-8"), json.loads(done.stdout)
    return made


def _numbers(found):
    """Whole numbers that matter in the JSON of a command, as people read them."""
    if "buffer_before" in found.get("totals", {}):
        blocks = [block["buffer_after"] for block in found["blocks"] if block["status"] == "converted"]
        return [found["totals"]["buffer_before"], found["totals"]["buffer_after"], *blocks]
    if "sum_to_joint" in found:
        return [found["joint"]["scores"][0]["samples"]]
    if "dataflow" in found:
        return [found["dataflow"]["totals"]["min"]["elements"]]
    if "chosen" in found:
        return [found["chosen"]["macs_added"]]
    if "convention" in found:
        return [found["totals"]["macs"], found["totals"]["cycles"], found["layers"][0]["parameters"]]
    return [found["models"][0]["outputs"][0]["samples"]]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_has_the_figures_of_the_json(documents, name):
    text, found = documents[name]
    document = Document(text)
    for number in _numbers(found):
        assert f"{number:,}" in document.words, number
    if verdict := found.get("verdict"):
        agreement = verdict["accuracy"] and verdict["accuracy"].get("agreement")
        if agreement is not None:
            assert f"agreement {100 * agreement:.1f} %" in document.words
    if name == "evaluate":
        agreement = found["models"][0]["outputs"][0]["agreement"]
        assert f"{100 * agreement:.1f} %" in document.words


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_is_whole_and_asks_for_nothing(documents, name):
    text, _ = documents[name]
    document = Document(text)
    assert text.startswith("<!DOCTYPE html>")
    assert ("lang", "en") in document.attributes
    assert document.tags.count("h1") == document.tags.count("main") == 1
    links = [value for key, value in document.attributes if key in ("src", "href", "xlink:href")]
    assert set(links) <= {"data:,", "#details"}
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    assert document.tags.count("svg") == text.count('role="img"')
    assert f"tse-onnx {name} digits.onnx" in document.words
    assert "digits.onnx" in text.split("<h1>")[1].split("</h1>")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_script_or_style_is_allowed_but_its_own(documents, name):
    text, _ = documents[name]
    policy = html.unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1])
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";") if rule.strip())
    for kind in ("style", "script"):
        (own,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not [key for key, _ in Document(text).attributes if key == "style" or key.startswith("on")]


def test_the_command_is_quoted_and_makes_the_same_again(folder):
    shutil.copy(folder / "digits.onnx", folder / "my $net's.onnx")
    assert run("report", "my $net's.onnx", "--html", "again.html", cwd=folder).returncode == 0
    text = (folder / "again.html").read_text(encoding="utf-8")
    (line,) = {
        said for said in map(html.unescape, re.findall(r">([^<>]+)<", text)) if said.startswith("tse-onnx report ")
    }
    (folder / "again.html").unlink()
    assert run(*shlex.split(line)[1:], cwd=folder).returncode == 0
    assert (folder / "again.html").read_text(encoding="utf-8") == text


def test_there_is_a_picture_of_what_is_held_and_two_of_each_block(documents):
    text, found = documents["convert"]
    converted = sum(block["status"] == "converted" for block in found["blocks"])
    assert text.count("<svg") == 1 + 2 * converted
    assert text.count("<details") == converted
    assert "Map, tile, and what waits" in text
    assert "strips of 7 rows" in html.unescape(text)  # the plan


def test_the_graph_has_the_nodes_of_the_block_before_and_after(documents):
    text, _ = documents["convert"]
    captions = re.findall(r"<figcaption>The graph of /3/body/body.6: (.*?)</figcaption>", text)
    (said,) = captions
    before, after = said.removesuffix(".").split("; after: ")
    assert before.split(", ") == ["ReduceMean", "Conv", "Sigmoid", "Mul", "Conv", "Sigmoid", "Mul"]
    assert set(after.split(", ")) > {"ReduceMean", "Conv", "Sigmoid", "Mul"}
    assert len(after.split(", ")) > 7


def test_names_of_a_model_are_no_markup(tmp_path):
    model = se_model()
    for node in model.graph.node:
        node.name = f"{HOSTILE}{node.name}"
    renamed = {name: f"{HOSTILE}{name}" for node in model.graph.node for name in node.output} | {"y": f"{HOSTILE}y"}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
    model.graph.output[0].name = renamed["y"]
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "m.onnx")
    done = run("report", "m.onnx", "--rows", "3", "--html", "r.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    document = Document(text)
    assert document.tags.count("script") == 1
    assert not [key for key, _ in document.attributes if key.startswith("on")]
    assert "\u202e" not in text


def test_the_same_result_makes_the_same_bytes(folder):
    for name in ("one.html", "other.html"):
        assert run("report", "digits.onnx", "--html", name, cwd=folder).returncode == 0
    one, other = ((folder / name).read_text() for name in ("one.html", "other.html"))
    assert one.replace("one.html", "other.html") == other


def test_where_a_bound_is_missed_there_is_no_document(folder):
    done = run("report", "digits.onnx", "--html", "missed.html", "--max-buffer", "1KiB", cwd=folder)
    assert done.returncode == 1
    assert not (folder / "missed.html").exists()
    done = run("convert", "digits.onnx", "no.onnx", "--html", "missed.html", "--max-buffer", "1KiB", cwd=folder)
    assert done.returncode == 1
    assert not (folder / "missed.html").exists()


def test_a_document_that_cannot_be_written_is_one_line(folder):
    said = refused(run("report", "digits.onnx", "--html", "nowhere/r.html", cwd=folder))
    assert "nowhere" in said


def test_a_conversion_whose_document_has_no_place_writes_nothing(folder):
    said = refused(run("convert", "digits.onnx", "none.onnx", "--no-verify", "--html", "nowhere/r.html", cwd=folder))
    assert "nowhere" in said
    assert not (folder / "none.onnx").exists()
    for place in ("none.onnx", "digits.onnx"):
        said = refused(run("convert", "digits.onnx", "none.onnx", "--no-verify", "--html", place, cwd=folder))
        assert "--html would overwrite" in said
    assert not (folder / "none.onnx").exists()


@pytest.mark.slow
def test_the_name_of_a_loss_is_no_markup():
    """That of a function of one's own, as a lambda has it."""
    found = tse_onnx.tune(
        models.load("digits_se"), models.digits()[0][:16], reduce=0.3, loss=lambda original, changed, labels: 0.0,
        menu=tse_onnx.Menu(rows=(8,)), trials=1, points=2, cache=False,
    )  # fmt: skip
    drawn = front_figure(found).svg
    assert "<lambda>" not in drawn
    assert "&lt;lambda&gt;" in drawn
