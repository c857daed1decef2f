"""How well the mean of a tile stands for the mean of the whole map: Figure 4 of the paper.

For each block Pearson's correlation, over all channels of all images, of what a tile gives with what the whole map
gives: before the excite (the means, calibrated where a running squeeze is) and after it (the gates). The network itself
is the original throughout.

Vosco, Shenkler, Grobman, "Tiled Squeeze-and-Excite: Channel Attention With Local Spatial Context", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto

from tse_onnx.data.choice import Data
from tse_onnx.data.given import DataLike
from tse_onnx.decision.decision import Convert
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import ModelError
from tse_onnx.evaluation.evaluate import Subject, wanted
from tse_onnx.evaluation.run import Contender, Progress, Runner, batches
from tse_onnx.files.source import ModelLike
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import Cover, Region, Running
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.search.match import DEFAULT_KINDS
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.widen import widened
from tse_onnx.shown import Shown
from tse_onnx.verification.oracle import Original, block_alone, size_probes, statistic_of

# A standard deviation below this part of the mean is rounding.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class TileCorrelation:
    """The correlations of one tile: `region` has its first row and the row behind its last one, and so for columns.

    `squeeze` is that of the means, `excite` that of the gates; None where one of the two does not vary.
    """

    region: tuple[tuple[int, int], ...]
    squeeze: float | None
    excite: float | None


@dataclass(frozen=True)
class BlockCorrelation:
    """The correlations of one block: of all its tiles together, and of each of them.

    `excite` are None throughout where the way from the mean to the gate cannot be run alone.
    """

    block: str
    channels: int
    extents: tuple[int, ...]
    tiling: str
    squeeze: float | None
    excite: float | None
    tiles: tuple[TileCorrelation, ...]


@dataclass(frozen=True, repr=False)
class Correlations(Shown):
    """The correlations of every block that would change, in node order; `data` tells what the `samples` are."""

    original: str
    data: str
    samples: int
    blocks: tuple[BlockCorrelation, ...]


def correlate(
    original: ModelLike,
    converted: ModelLike | Sequence[ModelLike] = (),
    *,
    data: DataLike | Data,
    rows: int | None = None,
    tiling: Choice | None = None,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    threads: int = 0,
    progress: Progress | None = None,
) -> Correlations:
    """The correlation of tiles with whole maps in the blocks of `original`, on `data`.

    The tiles are those of a converted model, of `rows`, a `tiling` or a `plan`; the arguments are those of `evaluate`.
    Blocks with frozen gates have no tiles, and those in bodies and functions are not looked into.

    Raises `ModelError`, `DataError`, `UsageError` as `evaluate` does.
    """
    subject = Subject.of(original, converted, wanted(rows, tiling, plan), selection, input_shapes or {}, kinds)
    chosen = data if isinstance(data, Data) else Data(data)
    samples = chosen.samples(subject.types)
    reference = Contender.of(subject.source)
    model, index = widened(reference.model), subject.made.analysis.main.index
    if model is not reference.model:
        index = GraphIndex.of_graph(model.graph)
    own = {block.name for block in subject.made.analysis.parts[0].blocks}
    meters = [
        _BlockMeter(one.block, str(one.tiling), one.cover, model, index, reference)
        for one in subject.made.decisions
        if isinstance(one, Convert) and one.cover is not None and one.block.name in own
    ]
    names = list(dict.fromkeys(name for meter in meters for name in meter.names))
    computed = [name for name in names if name not in index.inputs]
    if meters:
        runner = Runner(reference, threads, computed)
        for feed, _ in batches(samples, progress):
            values = {**feed, **runner.run(feed, computed)}
            for meter in meters:
                meter.add(values)
    return Correlations(subject.source.title, samples.text, samples.count, tuple(meter.result() for meter in meters))


class _BlockMeter:
    """Adds up the moments of one block's tiles."""

    def __init__(
        self, block: Convertible, tiling: str, cover: Cover, model: ModelProto, index: GraphIndex, reference: Contender
    ) -> None:
        self._block, self._tiling = block, tiling
        self._anatomy = block.anatomy
        self._regions = [source for source, _ in cover.pieces()]
        self._calibration = cover.calibration if isinstance(cover, Running) else None
        self._sizes = size_probes(cover, block, index)
        self._original = Original(model, index, reference.folder)
        self._excite: Session | None = None
        self._runs_alone = True
        self._means = [Moments() for _ in self._regions]
        self._gates = [Moments() for _ in self._regions]
        squeeze = self._anatomy.squeeze
        self.names = (squeeze.input, squeeze.output, self._anatomy.gate, *self._sizes)

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """One batch, from a run of the original."""
        squeeze = self._anatomy.squeeze
        x, whole, gate = values[squeeze.input], values[squeeze.output], values[self._anatomy.gate]
        mean = self._taken(x)
        for number, region in enumerate(self._regions):
            means, gates = self._means[number], self._gates[number]
            tile = self._taken(x[self._slices(region, x.ndim)])
            if self._calibration is not None:
                tile = self._calibration.slopes[number] * tile + np.array(self._calibration.offsets[number])
            means.add(mean, tile)
            if self._runs_alone:
                given = {squeeze.output: tile.astype(whole.dtype).reshape(whole.shape)}
                given |= {name: values[name] for name in self._sizes}
                if (found := self._gate(given)) is not None:
                    gates.add(gate, found)

    def _taken(self, x: np.ndarray) -> np.ndarray:
        squeeze = self._anatomy.squeeze
        return statistic_of(squeeze, x).reshape(x.shape[0], x.shape[squeeze.channel])

    def _gate(self, given: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """The gate that the original's excite makes of a descriptor."""
        name = self._anatomy.gate
        try:
            if self._excite is None:
                alone = block_alone(self._original, given, name)
                self._excite = Session(alone, self._original.folder, threads=1, way_out="")
            return self._excite.run(given, [name])[name]
        except ModelError:
            self._runs_alone = False
            return None

    def _slices(self, region: Region, rank: int) -> tuple[slice, ...]:
        spans = dict(zip(self._anatomy.squeeze.spatial, region, strict=True))
        return tuple(spans.get(axis, slice(None)) for axis in range(rank))

    def result(self) -> BlockCorrelation:
        gates = self._gates if self._runs_alone else [Moments() for _ in self._gates]
        tiles = tuple(
            TileCorrelation(tuple((span.start, span.stop) for span in region), means.correlation, gate.correlation)
            for region, means, gate in zip(self._regions, self._means, gates, strict=True)
        )
        return BlockCorrelation(
            self._block.name,
            self._block.channels or 0,
            tuple(extent or 0 for extent in self._block.extents),
            self._tiling,
            Moments.together(self._means).correlation,
            Moments.together(gates).correlation,
            tiles,
        )


@dataclass
class Moments:
    """Means and co-moments of pairs of numbers, added batch by batch (Chan, Golub and LeVeque, 1983)."""

    count: int = 0
    means: np.ndarray = field(default_factory=lambda: np.zeros(2))
    moments: np.ndarray = field(default_factory=lambda: np.zeros((2, 2)))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take pairs of numbers into account."""
        pairs = np.stack([x.reshape(-1), y.reshape(-1)]).astype(np.float64)
        means = pairs.mean(axis=1)
        centred = pairs - means[:, None]
        self.merge(Moments(pairs.shape[1], means, centred @ centred.T))

    def merge(self, other: Moments) -> None:
        """Take into account what another has."""
        if not other.count:
            return
        total = self.count + other.count
        apart = other.means - self.means
        self.moments = self.moments + other.moments + np.outer(apart, apart) * (self.count * other.count / total)
        self.means = self.means + apart * (other.count / total)
        self.count = total

    @classmethod
    def together(cls, parts: Sequence[Moments]) -> Moments:
        """All of them as one."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole

    @property
    def correlation(self) -> float | None:
        """Pearson's r; None where one of the two does not vary."""
        variances = np.diag(self.moments) / max(self.count, 1)
        if not (variances > np.square(_CONSTANT * self.means)).all():
            return None
        return float(self.moments[0, 1] / math.sqrt(self.moments[0, 0] * self.moments[1, 1]))
