"""What plans for a budget lose on images that nobody tuned on, seed by seed, beside the paper's uniform tile; and the
front of memory, multiply-accumulates and loss.

    python -m benchmarks.fidelity MODEL IMAGES [--reduce 80 85] [--seeds 0 1 2 3 4] [--front FILE.csv] [--plot FILE.svg]
    python -m benchmarks.fidelity MODEL IMAGES --figure min --machine cascade --reduce 45

Each seed splits the images into two halves, of which one chooses. The other judges: the intervals are those of its
samples, by Wilson for the part that agrees, by the bootstrap for the divergence. The table is for docs/measurements.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tse_onnx.conversion.verdict import GATE, MIN
from tse_onnx.data.choice import Data
from tse_onnx.decision.analysis import input_types
from tse_onnx.files.source import open_model
from tse_onnx.files.write import write_text
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.runtime.cuts import Values
from tse_onnx.runtime.scores import looks_like_classes, per_sample_kl
from tse_onnx.streaming.network.machines import machine_of
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.choices import Combination, Menu, combined
from tse_onnx.tuning.figures import FIGURES, figure_of
from tse_onnx.tuning.network import Network
from tse_onnx.tuning.search import halves, tune

if TYPE_CHECKING:
    from tse_onnx.data.samples import Samples

Floats = NDArray[np.float64]

PAPER = Tiling(7)
# In per cent of the network's multiply-accumulates: the limits that the front is drawn for.
LIMITS = (None, 20.0, 10.0, 0.0)
_DRAWS = 10_000
# Nats: what is no more than rounding is drawn at this height.
_LEAST = 1e-6


@dataclass(frozen=True)
class Line:
    """A combination judged: the parts of the buffer that it saves and of the multiply-accumulates that it adds, and for
    each sample whether the first class is the original's and the divergence in nats."""

    saved: float
    macs: float
    agrees: NDArray[np.bool_]
    kl: Floats

    @property
    def agreement(self) -> tuple[float, float, float]:
        """The part that agrees, and its interval of 95 % by Wilson."""
        count, part, z = len(self.agrees), float(self.agrees.mean()), 1.959964
        middle, width = part + z * z / (2 * count), z * np.sqrt(part * (1 - part) / count + (z / (2 * count)) ** 2)
        whole = 1 + z * z / count
        return part, float((middle - width) / whole), float((middle + width) / whole)

    @property
    def divergence(self) -> tuple[float, float, float]:
        """The mean divergence, and its interval of 95 % by the bootstrap."""
        drawn = np.random.default_rng(0).integers(0, len(self.kl), (_DRAWS, len(self.kl)))
        low, high = np.percentile(self.kl[drawn].mean(axis=1), (2.5, 97.5))
        return float(self.kl.mean()), float(low), float(high)


class Judge:
    """A model and samples that nothing is chosen by."""

    def __init__(self, network: Network, samples: Samples, asked: Any) -> None:
        self._network, self._batches = network, Batches(samples)
        machine, shapes = machine_of(asked.get("machine")), asked.get("input_shapes")
        self._figures = [figure_of(asked.get("figure", MIN), network, machine, shapes, axis) for axis in (0, 1)]
        self._reference = [network.original(batch.feed) for batch in self._batches]

    def line(self, combination: Combination, axis: int = 0) -> Line:
        """The combination on these samples, run whole; maps stream along a spatial axis."""
        figure = self._figures[axis]
        changed = self._network.together(combination)
        pairs = [
            (reference, changed.run(self._network.start(batch.feed)))
            for reference, batch in zip(self._reference, self._batches, strict=True)
        ]
        return Line(
            1 - figure.of(combination) / figure.of(()),
            self._network.macs_added(combination) / self._network.macs,
            np.concatenate([_first(reference) == _first(other) for reference, other in pairs]),
            np.concatenate([per_sample_kl(*pair) for pair in pairs]),
        )


def _first(outputs: Values) -> NDArray[np.int64]:
    classes = next(array for array in outputs.values() if looks_like_classes(array))
    first: NDArray[np.int64] = classes.reshape(len(classes), -1).argmax(axis=1)
    return first


def table(network: Network, data: Data, budgets: Iterable[float], seeds: Iterable[int], asked: Any) -> Iterable[str]:
    """The lines of a table: for each budget the plans by seed, and the paper's tile on the same samples."""
    yield "| wanted | seed | saved | MACs | agreement, 95 % interval | KL, 95 % interval |"
    yield "|---:|---:|---:|---:|---:|---:|"
    seeds, plain = tuple(seeds), combined((block.name, PAPER) for block in _taller(network))
    judges = {seed: Judge(network, _split(network, data, seed), asked) for seed in seeds}
    for budget in budgets:
        for seed, judge in judges.items():
            found = tune(network.source, _seeded(data, seed), reduce=budget / 100, points=0, **asked)
            yield _row(f"{budget:g} %", seed, judge.line(found.chosen.combination, found.axis))
    for seed, judge in judges.items():
        yield _row("tile of 7 rows", seed, judge.line(plain))


def _taller(network: Network) -> list[Any]:
    return [block for block in network.blocks if (block.extents[0] or 0) > (PAPER.rows or 0)]


def _seeded(data: Data, seed: int) -> Data:
    return replace(data, seed=seed)


def _split(network: Network, data: Data, seed: int) -> Samples:
    _, judge = halves(_seeded(data, seed).samples(input_types(network.analysis)), 0.5, seed)
    return judge


def _row(wanted: str, seed: int, line: Line) -> str:
    agreement, divergence = line.agreement, line.divergence
    shown = "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * part for part in agreement))
    nats = "{:.4f} [{:.4f}, {:.4f}]".format(*divergence)
    return f"| {wanted} | {seed} | {100 * line.saved:.1f} % | {100 * line.macs:+.1f} % | {shown} | {nats} |"


@dataclass(frozen=True)
class Spot:
    """A point of the front, with the limit that it was found under."""

    limit: float | None
    line: Line


def front(network: Network, data: Data, points: int, asked: Any) -> list[Spot]:
    """What no other combination found beats in memory, multiply-accumulates and divergence at once, on samples that
    nothing was chosen by."""
    judge, spots = Judge(network, _split(network, data, data.seed), asked), []
    known: dict[Combination, Line] = {}
    for limit in LIMITS:
        found = tune(network.source, data, reduce=0, points=points, max_macs=limit, trials=0, **asked)
        for point in found.pareto:
            if point.combination not in known:
                known[point.combination] = judge.line(point.combination, found.axis)
                spots.append(Spot(limit, known[point.combination]))
    return [spot for spot in spots if not any(_beats(other.line, spot.line) for other in spots)]


def _beats(one: Line, other: Line) -> bool:
    mine, its = ((-line.saved, line.macs, float(line.kl.mean())) for line in (one, other))
    return mine != its and all(left <= right for left, right in zip(mine, its, strict=True))


def front_csv(spots: Sequence[Spot]) -> str:
    """A line for each point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("max_macs_percent", "saved_percent", "macs_added_percent", "agreement", "kl", "kl_low", "kl_high"))
    for spot in spots:
        line = spot.line
        writer.writerow((
            "" if spot.limit is None else f"{spot.limit:g}", f"{100 * line.saved:.2f}", f"{100 * line.macs:.2f}",
            f"{line.agreement[0]:.4f}", *(f"{number:.6g}" for number in line.divergence),
        ))  # fmt: skip
    return text.getvalue()


def draw(path: Path, spots: Sequence[Spot]) -> None:
    """The divergence against what is saved, a line for each limit of multiply-accumulates."""
    from tse_onnx.report.picture import blank, save

    figure = blank(7.5, 4.8)
    axis = figure.subplots()
    colours = ("#2a6f5e", "#8fa3bf", "#e0a458", "#c8553d")
    for limit, colour, marker in zip(LIMITS, colours, "os^D", strict=True):
        own = sorted((spot.line.saved, float(spot.line.kl.mean()), spot.line.macs) for spot in spots
                     if spot.limit == limit)  # fmt: skip
        if not own:
            continue
        most = 100 * max(macs for _, _, macs in own)
        label = (
            f"no limit of MACs, up to {most:+.0f} %" if limit is None else f"recompute within {limit:g} % of the MACs"
        )
        saved, kl = [100 * one[0] for one in own], [max(one[1], _LEAST) for one in own]
        axis.plot(saved, kl, "-", marker=marker, color=colour, label=label, linewidth=1.6, markersize=5)
    axis.set_yscale("log")
    if any(spot.line.kl.mean() <= _LEAST for spot in spots):
        axis.axhline(_LEAST, color="#c9ced6", linewidth=0.8, zorder=0)
        axis.text(
            0.995,
            _LEAST,
            f"nothing lost, or less than {_LEAST:g}",
            transform=axis.get_yaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=8,
        )
    axis.set_xlabel("buffer saved (%)")
    axis.set_ylabel("KL on samples set aside (nats)")
    axis.legend(frameon=False, loc="upper left", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def main() -> int:
    """Print the table, and write the front where it is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description="What plans for a budget lose.")
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, help="what tse-onnx tune --data takes")
    parser.add_argument("--preprocess", default="unit")
    parser.add_argument("--input-shape", help="as 1,3,224,224, where the model leaves it open")
    parser.add_argument("--limit", type=int, help="take so many samples")
    parser.add_argument("--reduce", type=float, nargs="+", default=[80, 85], metavar="PCT")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--figure", default=GATE, choices=FIGURES)
    parser.add_argument("--machine", default="ideal", help="that a figure of the whole network is counted on")
    parser.add_argument("--axis", default="rows", choices=["rows", "columns", "both"])
    parser.add_argument("--squeeze", nargs="+", default=None)
    parser.add_argument("--max-macs", type=float, metavar="PCT", help="of the plans in the table")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--cache", default=True, help="where measurements are kept")
    parser.add_argument("--front", type=Path, metavar="FILE.csv")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--points", type=int, default=16, help="of the front, for each limit")
    given = parser.parse_args()
    sizes = given.input_shape.split(",") if given.input_shape else None
    shapes = None if sizes is None else {"": tuple(int(size) if size.isdecimal() else size for size in sizes)}
    data = Data(given.images, preprocess=given.preprocess, limit=given.limit)
    network = Network(open_model(given.model), shapes)
    asked = {
        "input_shapes": shapes, "axis": given.axis, "menu": Menu(squeezes=given.squeeze), "cache": given.cache,
        "figure": given.figure, "machine": given.machine,
    }  # fmt: skip
    rows = table(network, data, given.reduce, given.seeds, asked | {"max_macs": given.max_macs, "trials": given.trials})
    for row in rows if given.seeds else ():
        print(row, flush=True)
    if given.front is not None or given.plot is not None:
        spots = front(network, data, given.points, asked)
        if given.front is not None:
            write_text(given.front, front_csv(spots))
        if given.plot is not None:
            draw(given.plot, spots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
