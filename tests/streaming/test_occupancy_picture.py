"""The occupancy picture: every text where it belongs and can be read, and the networks called what they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import models
import tse_onnx
from tse_onnx.cli import main
from tse_onnx.errors import UsageError
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.recompute import Recompute
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.report.labels import spread
from tse_onnx.report.picture import save
from tse_onnx.report.stream_plot import _INK, _ON_DARK, COLOURS, Axes, Panel, draw
from tse_onnx.report.title import title
from tse_onnx.streaming.depths.occupancy import Occupancy

pytestmark = pytest.mark.slow

NAMES = {
    "gate": "held for a gate",
    "skip": "skip connections",
    "line": "line buffers",
    "stream": "rows on their way",
}
ORDER = ("stream", "line", "skip", "gate")  # as they lie on each other


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "digits.onnx"
    models.save("digits_se", path)
    return path


@pytest.fixture(scope="module")
def dataflow(digits):
    return tse_onnx.stream(digits)


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved."""
    seen: list[Figure] = []
    honest = Figure.savefig

    def savefig(figure, *given, **options):
        honest(figure, *given, **options)
        figure.draw_without_rendering()  # at the figure's own size again
        seen.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return seen


def command(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def texts(parent, start):
    return [text for text in parent.findobj(Text) if (text.get_gid() or "").startswith(start) and text.get_text()]


def random_held(seed, rows=24, ticks=None):
    """Bands that begin, jump and end anywhere, some of them thin."""
    random = np.random.default_rng(seed)
    latency = float(random.integers(1, 5 * rows))
    ticks = ticks or rows * (int(np.ceil(latency / rows)) + 1)
    held = {}
    for kind in ORDER:
        size = int(10 ** random.uniform(0, 5))
        ramp = np.minimum(np.arange(ticks) / random.integers(1, ticks), 1)
        held[kind] = tuple(map(int, size * ramp * (0.8 + 0.2 * (random.random(ticks) < 0.9)) * (random.random() < 0.9)))
    return Occupancy(rows, latency, held)


def edges(held, scale, kind):
    """The band of a kind in each tick."""
    number = ORDER.index(kind)
    low = [sum(held.held[each][tick] for each in ORDER[:number]) / scale for tick in range(len(held.held[kind]))]
    return low, [base + held.held[kind][tick] / scale for tick, base in enumerate(low)]


def check(figure, held):
    """Every band is named once, inside it or beside with a line that ends in it; no text lies on another or leaves the
    page; all panels have the same axes."""
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in figure.axes}) == 1
    unit = figure.axes[0].get_ylabel()
    scale = 2**20 if "MiB" in unit else 2**10 if "KiB" in unit else 1
    for axis, each in zip(figure.axes, held, strict=True):
        beside = {text.get_text(): text for text in texts(axis, "beside")}
        for kind, name in NAMES.items():
            low, high = edges(each, scale, kind)
            inside = texts(axis, f"name {kind}")
            assert len(inside) + (name in beside) == any(each.held[kind]), kind
            if inside:
                assert inside[0].get_text() == name
                box = axis.transData.inverted().transform(Text.get_window_extent(inside[0]).get_points())
                (left, bottom), (right, top) = box
                ticks = range(int(left), int(np.ceil(right)))
                assert left >= 0
                assert right <= len(low)
                assert all(low[tick] <= bottom and top <= high[tick] for tick in ticks), kind
                assert not left <= each.latency <= right
                assert axis is figure.axes[0] or not bottom < held[0].peak / scale < top
            elif name in beside:
                assert isinstance(beside[name], Annotation)
                where, height = beside[name].xy
                assert low[int(where)] <= height <= high[int(where)]
        assert Text.get_window_extent(texts(axis, "head")[0]).x1 <= figure.bbox.x1
    # A tick beyond an end keeps its text, which nobody sees.
    unseen = {
        id(tick.label1)
        for axis in figure.axes
        for line, (low, high) in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim()))
        for tick in line.get_major_ticks()
        if not low <= tick.get_loc() <= high
    }
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible() and id(text) not in unseen]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in shown]
    page = figure.bbox
    for words, box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, words
        assert page.y0 <= box.y0 < box.y1 <= page.y1, words
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.padded(-1).overlaps(second.padded(-1)), (one, other)


@pytest.mark.parametrize("seed", range(12))
def test_labels_of_random_bands(dataflow, figures, tmp_path, seed):
    one, two = random_held(seed), random_held(1000 + seed)
    ticks = max(len(one.held["gate"]), len(two.held["gate"]))
    held = [random_held(seed, ticks=ticks), random_held(1000 + seed, ticks=ticks)]
    names = (
        "squeeze-and-excite",
        "tile in 9 blocks, calibrated in 3, recomputed in 2, previous in 2, global mean in 1",
    )
    panels = [Panel(name, dataflow, each) for name, each in zip(names, held, strict=True)]
    verdict = ("Whole network: " + "$a_b$ less " * 40, "Accuracy: unknown.")[: seed % 3]
    save(draw("a$b$_c^{" * (1 + 9 * (seed % 2)), panels, verdict=verdict), tmp_path / "a.png")
    check(figures[0], held)


@pytest.mark.parametrize("words", [
    ("--rows", "7"), ("--rows", "7", "--axis", "1"), ("--rows", "3", "--squeeze", "running"),
    ("--squeeze", "recompute"), ("--squeeze", "previous"),
])  # fmt: skip
def test_labels_of_a_network(digits, figures, tmp_path, monkeypatch, words):
    seen = []
    monkeypatch.setattr(
        "tse_onnx.report.stream_plot.draw",
        lambda model, panels, axes, verdict: (seen.extend(panels), draw(model, panels, axes, verdict))[1],
    )
    command("report", digits, *words, "--plot", tmp_path / "a.png")
    check(figures[0], [panel.held for panel in seen])
    token = "columns" if "--axis" in words else "rows"
    assert f"first image out after 158 {token}" in " ".join(heads(figures[0]))
    assert f"input {token} that have come" in figures[0].axes[0].get_xlabel()


def test_no_peak_of_a_tall_network_is_lost(dataflow, figures, tmp_path):
    held = {kind: np.full(24 * 200, 5 * 2**10) for kind in ORDER}
    held["gate"][3001] = 40 * 2**10
    held["line"][4000] = 0
    tall = Occupancy(2400, 10.0, {kind: tuple(map(int, each)) for kind, each in held.items()})
    save(draw("tall", [Panel("as it is", dataflow, tall)]), tmp_path / "a.svg")
    (band,) = [each for each in figures[0].axes[0].collections if each.get_gid() == "band gate"]
    assert band.get_paths()[0].vertices[:, 1].max() == 55
    assert len(band.get_paths()[0].vertices) < 5000
    check(figures[0], [tall])


def lightness(colour):
    """CIE L*, and the luminance that contrast goes by."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return 116 * luminance ** (1 / 3) - 16, luminance


def test_bands_are_told_apart_without_their_hues():
    lights = [lightness(COLOURS[kind])[0] for kind in ORDER]
    assert tuple(COLOURS) == ORDER
    assert min(one - other for one, other in itertools.pairwise([100, *lights])) >= 5
    assert min(one - other for one, other in itertools.pairwise(lights)) >= 15
    for kind, colour in COLOURS.items():
        two = sorted((lightness(colour)[1], lightness("white" if kind in _ON_DARK else _INK)[1]))
        assert (two[1] + 0.05) / (two[0] + 0.05) >= 4.5


def test_runs_are_laid_side_by_side(digits, figures, tmp_path):
    axes = ("--plot-limit", "1MiB", "--plot-images", "9")
    command("report", digits, "--rows", "7", "--plot", tmp_path / "a.png", *axes)
    command("stream", digits, "--no-run", "--plot", tmp_path / "b.png", *axes)
    found = {(axis.get_xlim(), axis.get_ylim()) for figure in figures for axis in figure.axes}
    assert found == {((0, 9 * 32), (0, 1))}


def test_axes_that_are_too_short_or_too_long_are_refused(digits, dataflow, tmp_path, monkeypatch):
    monkeypatch.setattr("tse_onnx.streaming.depths.occupancy.MOST_ROWS", 300_000)
    plot = ("--plot", tmp_path / "a.png")
    assert "ends below the 507.1 KiB" in command("stream", digits, "--no-run", *plot, "--plot-limit", "500KiB", code=2)
    assert "it takes 6" in command("report", digits, *plot, "--plot-images", "5", code=2)
    assert not (tmp_path / "a.png").exists()
    said = command("stream", digits, "--no-run", *plot, "--plot-images", "10000", code=2)
    assert "10,000 images have 320,000 rows, more than the 300,000" in said
    for name in ("--plot-limit", "--plot-images"):
        for which in ("report", "stream"):
            assert f"{name} goes with --plot" in command(which, digits, name, "5", code=2)
    with pytest.raises(UsageError, match="too short"):
        draw("a", [Panel("a", dataflow, random_held(0))], Axes(images=1))


def heads(figure):
    return [text.get_text().replace("\n", " ") for text in texts(figure, "head")]


def test_networks_are_called_what_they_are(digits, figures, tmp_path):
    tiled = tmp_path / "tiled.onnx"
    command("convert", digits, tiled, "--rows", "5")
    command("report", digits, "--rows", "5", "--plot", tmp_path / "a.png", "--bits", "8")
    command("stream", tiled, "--no-run", "--plot", tmp_path / "a.png")
    command("report", tiled, "--plot", tmp_path / "a.png")
    before, stream, again = map(heads, figures)
    assert "digits: no stall, 8 bits an element" in before
    assert "squeeze-and-excite" in before
    assert "tiles of 5 rows" in before
    assert "tiled: no stall, 32 bits an element" in stream
    assert "tiles of 5 rows" in stream
    assert not any("squeeze-and-excite" in words for words in (*stream, *again))
    assert again.count("tiles of 5 rows") == 2
    assert any(words.endswith(", as before") for words in again)


@pytest.mark.parametrize(("choices", "wanted"), [
    ([], "no squeeze-and-excite block"),
    ([None, None], "squeeze-and-excite"),
    ([Tiling(7), Tiling(7)], "tiles of 7 rows"),
    ([Tiling(3, squeeze="running")], "a running squeeze of 3 rows, step 1"),
    ([Frozen((0.5,)), Frozen((0.25,))], "frozen"),
    ([Recompute("a"), Recompute("b")], "recomputed"),
    ([Previous()], "previous"),
    ([Tiling(7), None, Tiling(7)], "tiles of 7 rows in 2 blocks, global mean in 1"),
    ([Tiling(7), Tiling(5), Tiling(3), Recompute(), None], "tile in 3 blocks, recomputed in 1, global mean in 1"),
])  # fmt: skip
def test_titles(choices, wanted):
    assert title(choices) == wanted


def test_labels_beside_a_panel_are_spread():
    assert spread([1, 5], 2, 10) == [1, 5]
    assert spread([0, 0, 0], 2, 10) == [0, 2, 4]
    assert spread([9, 10, 10], 2, 10) == [6, 8, 10]
    assert spread([], 2, 10) == []
