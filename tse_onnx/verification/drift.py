"""How far the outputs of a converted model are from the original's."""

from __future__ import annotations

from collections.abc import Iterable

from tse_onnx.runtime.scores import Score
from tse_onnx.verification.result import Drift


def drift_of(scores: Iterable[Score]) -> tuple[Drift, ...]:
    """The drift of every output, of its score over all samples."""
    return tuple(Drift(score.output, score.max_abs, score.sqnr_db, score.agreement) for score in scores)
