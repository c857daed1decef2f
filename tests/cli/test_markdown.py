"""Markdown says word for word what plain text says, whatever a model's names hold."""

import itertools

import numpy as np
import onnx
import pytest
from markdown_it import MarkdownIt

from tests.command import tse_onnx
from tests.graphs import network
from tse_onnx import convert
from tse_onnx.report.markdown import Markdown
from tse_onnx.report.page import Table, say

NAMES = [
    "a|b", "`tick`", "``", "*bold*", "__init__", "_", "x_y", "x__y_", "_x", "[a](b)", "<b>", "~~gone~~", "back\\slash", "\\|", "&amp;",
    "# head", "- item", "+ item", "1. first", "12) twelfth", "123456789. many", "1.5 parts", "= underline", "---", "$x$", "![a](b)", "http_a", "*", "a*b*c", "| a |",
]  # fmt: skip


def cells(text):
    """The words of a Markdown text as its parser has them, table by table; paragraphs are tables of one cell."""
    found, row = [[]], None
    tokens = iter(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text))
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            found[-1].append(row)
            row = None
        elif token.type == "inline":
            said = "".join(child.content for child in token.children if child.type in ("text", "text_special"))
            kinds = {child.type for child in token.children} - {"text", "text_special", "strong_open", "strong_close"}
            assert not kinds, (token.content, kinds)
            if row is None:
                found += [[[said]], []]
            else:
                row.append(said)
        else:
            assert token.type.startswith(
                ("paragraph", "table", "thead", "tbody", "th", "td", "tr", "bullet_list", "list_item")
            ), token.type
    return [table for table in found if table]


@pytest.fixture
def folder(tmp_path):
    model = network(28, 14)
    for node, name in zip(model.graph.node, itertools.cycle(NAMES), strict=False):
        node.name = f"{name} {node.op_type}"
    onnx.save(model, tmp_path / "net.onnx")
    convert(tmp_path / "net.onnx", tmp_path / "tiled.onnx", verify=False)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.standard_normal((4, 8, 28, 12)).astype(np.float32), labels=rng.integers(0, 3, 4))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "net.onnx"],
        ["explain", "net.onnx"],
        ["report", "net.onnx", "--rows", "3"],
        ["convert", "net.onnx", "out.onnx", "--rows", "3"],
        ["plan", "net.onnx", "-o", "plan.toml"],
        ["stream", "net.onnx", "--no-run"],
        ["evaluate", "net.onnx", "--data", "x.npz", "--by-stage", "--correlation"],
        ["sensitivity", "net.onnx", "--data", "x.npz", "--no-cache", "--rows", "3,7"],
        ["verify", "net.onnx", "tiled.onnx"],
        ["tune", "net.onnx", "--data", "x.npz", "--no-cache", "--rows", "3,7", "--reduce", "30%"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_says_the_same(folder, command):
    plain = tse_onnx(*command, cwd=folder)
    marked = tse_onnx(*command, "--format", "markdown", cwd=folder)
    assert (plain.returncode, marked.returncode) == (0, 0)
    assert not marked.stderr
    words = [word for table in cells(marked.stdout.decode()) for row in table for cell in row for word in cell.split()]
    assert words == plain.stdout.decode().split()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("style", ["", "bold", "dim"])
def test_a_name_is_what_it_is(name, style, capsys):
    page = Markdown()
    page.print(Table((name, "right"), [((name, "1"), style), (("", name), style)], right=(1,)))
    say(page, name, style)
    say(page, f"  {name}")
    said = cells(capsys.readouterr().out)
    assert said == [[[name, "right"], [name, "1"], ["", name]], [[name]], [[name]]]


def test_numbers_stand_on_the_right(capsys):
    Markdown().print(Table(("name", "count"), [(("a", "1"), "")], right=(1,)))
    assert capsys.readouterr().out == "| name | count |\n| --- | ---: |\n| a | 1 |\n\n"


def test_a_report_goes_where_the_output_is_not(folder):
    done = tse_onnx("plan", "net.onnx", "--format", "markdown", cwd=folder)
    assert done.stdout == tse_onnx("plan", "net.onnx", cwd=folder).stdout
    assert done.stderr.startswith(b"**The plan was written to standard output")
    assert b"\n| block |" in done.stderr
