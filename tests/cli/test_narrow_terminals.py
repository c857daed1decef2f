"""On a terminal of any width every digit of every table is there; with --quiet there is no table."""

import re

import numpy as np
import onnx
import pytest

import models
from tests.command import refused, tse_onnx
from tests.graphs import network
from tse_onnx.report.number import decibels, number, percent, points
from tse_onnx.report.page import Plain, Table, judge

WIDTHS = (60, 80, 100, 160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    onnx.save(network(28, 14, 7), folder / "small.onnx")
    models.save("digits_se", folder / "net.onnx")
    np.save(folder / "net.npy", models.digits()[0][:20])
    made = ("convert", "net.onnx", "out.onnx", "--rows", 3, "--no-verify")
    assert tse_onnx(*made, "--report", "a.json", cwd=folder).returncode == 0
    assert tse_onnx(*made[:4], 7, made[5], "--report", "b.json", cwd=folder).returncode == 0
    return folder


KEPT = ("--cache", "measured")

COMMANDS = [
    ("inspect", "net.onnx"),
    ("report", "net.onnx", "--rows", 3),
    ("stream", "net.onnx", "--no-run"),
    ("diff", "a.json", "b.json"),
    ("targets",),
    ("profile", "net.onnx", "out.onnx"),
    ("report", "net.onnx", "--rows", 3, "--memory", "100KiB"),
    ("report", "net.onnx", "--squeeze", "recompute"),
    pytest.param(("convert", "net.onnx", "made.onnx", "--rows", 3), marks=pytest.mark.slow),
    pytest.param(("verify", "net.onnx", "out.onnx"), marks=pytest.mark.slow),
    pytest.param(("evaluate", "net.onnx", "out.onnx", "--data", "net.npy", "--by-stage"), marks=pytest.mark.slow),
    pytest.param(
        ("evaluate", "net.onnx", "--rows", 3, "--data", "net.npy", "--correlation"),
        marks=pytest.mark.slow,
    ),
    pytest.param(("noise", "net.onnx", "--data", "net.npy", "--rows", 3), marks=pytest.mark.slow),
    pytest.param(("sensitivity", "net.onnx", "--data", "net.npy", "--rows", 3, *KEPT), marks=pytest.mark.slow),
    pytest.param(
        ("tune", "net.onnx", "--data", "net.npy", "--reduce", "20%", "--rows", 3, "--squeeze", "tile", *KEPT),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_no_digit_is_cut_off(folder, words, monkeypatch):
    tables = []
    plain = Plain.print
    monkeypatch.setattr(Plain, "print", lambda page, what, **style: (tables.append(what), plain(page, what, **style)))
    assert tse_onnx(*words, cwd=folder).returncode in (0, 1)
    tables = [table for table in tables if isinstance(table, Table)]
    assert tables
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        shown = tse_onnx(*words, cwd=folder).stdout.decode()
        assert "\x1b" not in shown
        assert max(map(len, shown.splitlines())) <= width
        there = re.sub(r"\s+", " ", shown)
        for table in tables:
            assert "".join(table.headings[0].split()) in "".join(shown.split())
            for cells, _ in table.rows:
                numbers = [re.sub(r"\s+", " ", cells[column]) for column in table.right]
                assert [number for number in numbers if number not in there] == []
                letters = "".join(shown.split())
                assert [cell for cell in cells if "".join(cell.split()) not in letters] == []


def test_the_lines_of_a_narrow_table(monkeypatch, capsys):
    from rich.console import Console

    table = Table(
        ("block", "", "before", "after"), [(("a", "kept", "1,234", ""), ""), (("b" * 30, "", "5", "6"), "")], (2, 3)
    )
    Console(width=24, color_system=None).print(table)
    assert capsys.readouterr().out.splitlines() == [
        "block",
        "a",
        "  kept  before 1,234",
        "b" * 24,
        "b" * 6,
        "  before 5  after 6",
    ]
    Console(width=80, color_system=None).print(table)
    wide = capsys.readouterr().out.splitlines()
    assert wide[0].split() == ["block", "before", "after"]
    assert len(wide) == 3


LINES = ["Scales of the blocks: ", "Whole network: ", "Accuracy: "]


@pytest.mark.parametrize(
    "words", [("report", "small.onnx"), ("convert", "small.onnx", "small_out.onnx")], ids=lambda words: words[0]
)
def test_quiet_is_the_verdict_alone(folder, words):
    whole = tse_onnx(*words, cwd=folder).stdout.decode().splitlines()
    found = tse_onnx(*words, "--quiet", cwd=folder).stdout.decode().splitlines()
    assert found == [line for line in whole if line.startswith(tuple(LINES))]
    assert len(found) == 3
    marked = tse_onnx(*words, "-q", "--format", "markdown", cwd=folder).stdout.decode()
    assert "|" not in marked
    assert "--quiet" in refused(tse_onnx(*words, "-q", "--format", "json", cwd=folder))


@pytest.mark.slow
def test_quiet_is_the_verdict_alone_of_a_plan_that_is_tuned(folder):
    words = ("tune", "net.onnx", "--data", "net.npy", "--reduce", "20%", "--rows", 3, "--squeeze", "tile", "--no-cache")
    found = tse_onnx(*words, "--trials", 0, "--points", 0, "--quiet", cwd=folder)
    assert found.returncode == 0, found.stderr.decode()
    assert [line.partition(": ")[0] + ": " for line in found.stdout.decode().splitlines()] == LINES


def test_marks_say_what_colours_say(monkeypatch, capsys):
    from rich.console import Console

    said = [(True, "✓", "32"), (False, "✗", "1;31"), (None, "?", "33")]
    for passed, mark, colour in said:
        judge(Console(width=80, force_terminal=True, color_system="standard"), passed, "so it is")
        judge(Plain(), passed, "so it is")
        assert capsys.readouterr().out.splitlines() == [f"\x1b[{colour}m{mark} so it is\x1b[0m", f"{mark} so it is"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (7e-13, "7e−13"), (-0.5, "−0.5"), (0.017955, "0.018"), (12345.6, "12,346"), (8.123, "8.12"),
     (float("inf"), "inf"), (float("-inf"), "−inf"), (1e-10, "1e−10")],
)  # fmt: skip
def test_numbers_have_three_digits_and_one_minus_sign(value, shown):
    assert number(value) == shown


def test_parts_and_points_have_the_same_minus_sign():
    assert [percent(0.65), percent(-0.109), percent(-0.0001), percent(None)] == ["65.0 %", "−10.9 %", "0.0 %", ""]
    assert [points(0.4), points(-0.4), points(0.01), points(-0.01)] == ["+0.4", "−0.4", "0.0", "0.0"]
    assert [decibels(None), decibels(-3.21), decibels(float("-inf"))] == ["equal", "−3.2 dB", "none"]


def test_files_beside_what_is_printed_are_named(folder):
    done = tse_onnx("stream", "net.onnx", "--no-run", "--csv", "rows.csv", cwd=folder)
    assert done.stdout.decode().splitlines()[-1] == "Wrote rows.csv."
    as_json = tse_onnx("stream", "net.onnx", "--no-run", "--csv", "rows.csv", "--format", "json", cwd=folder)
    assert b"Wrote" not in as_json.stdout


def test_why_blocks_stay_as_they_are_is_said_once(folder):
    shown = tse_onnx("report", "net.onnx", "--rows", 16, "--no-dataflow", cwd=folder).stdout.decode()
    assert shown.count("Unchanged: ") == 2  # 16 rows and 8 rows
    assert shown.count("  unchanged  ") == 3
    squeezed = tse_onnx("report", "net.onnx", "--squeeze", "running", "--rows", 3, cwd=folder).stdout.decode()
    assert squeezed.count("  running 3  ") == 4
