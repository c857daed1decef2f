"""The ranges of a network's values on data: measured once, they serve any number of quantised models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tse_onnx.data.feed import Feed
from tse_onnx.errors import DataError, ModelError
from tse_onnx.passes.reasons import quoted
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject
from tse_onnx.runtime.quantization import HistogramCollector, quietly
from tse_onnx.runtime.session import Session

# Bins of a histogram as it begins; it grows with the range of what follows. Entropy compares every pair of ends, which
# takes their square, and the levels that a half of the bins are brought to.
_BINS = {"percentile": (2048, 2048), "entropy": (512, 128)}

Range = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """The least and the largest number of each value that counts, by the value's name; `calibration` is how they were
    chosen, and `samples` how many were looked at."""

    calibration: str
    samples: int
    by_value: Mapping[str, Range] = field(repr=False)


def ranges_on(subject: Subject, feeds: Iterable[Feed], scheme: Scheme, threads: int = 0) -> Ranges:
    """The ranges of all values that a quantised model needs, on batches of data, of which one is held at a time.

    Raises `DataError` for fewer than two samples, `ModelError` where a value is not finite.
    """
    names = subject.read()
    made = [name for name in names if name not in subject.scope.index.inputs]
    session = Session(subject.model, None, made, threads, subject.title, way_out="")
    ends = dict[str, Range]()
    bins, levels = _BINS.get(scheme.calibration, (0, 0))
    histograms = HistogramCollector(scheme.calibration, False, bins, levels, scheme.percentile, "same")
    samples = 0
    for feed in feeds:
        samples += next((len(array) for array in feed.values() if array.ndim), 1)
        values = {**feed, **session.run(feed, made)}
        seen = {name: np.asarray(values[name], np.float32) for name in names}
        for name, array in seen.items():
            ends[name] = _with(ends.get(name), array, name)
        if bins:
            with quietly():
                histograms.collect_value(seen)
    if samples < 2:
        raise DataError(
            f"{'one sample says' if samples else 'no sample says'} nothing of the range that others reach: calibrate "
            "on two at the least, better on some tens"
        )
    return Ranges(scheme.calibration, samples, _chosen(ends, histograms, scheme) if bins else ends)


def _chosen(ends: Mapping[str, Range], histograms: HistogramCollector, scheme: Scheme) -> dict[str, Range]:
    with quietly():
        found = histograms.compute_percentile() if scheme.calibration == "percentile" else histograms.compute_entropy()
    return {name: (float(found[name][0]), float(found[name][1])) for name in ends}


def _with(known: Range | None, array: np.ndarray, name: str) -> Range:
    if not array.size:
        return known or (0.0, 0.0)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ModelError(f"{quoted(name)} is not finite on the data: nothing has a range there")
    return (low, high) if known is None else (min(low, known[0]), max(high, known[1]))
