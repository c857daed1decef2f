"""Whether labels are those of a network at all: where it gets no more right than chance would, they hardly are."""

from __future__ import annotations

import math

from tse_onnx.runtime.scores import Score

_FEWEST = 30
"""Samples below which chance reaches far."""
_DEVIATIONS = 3
_CLEAR = 5
"""How many times better than chance other labels have to fit to be named."""


def doubt(score: Score) -> str | None:
    """What speaks against the labels that an output was judged by, and what would help; None where nothing does."""
    accuracy = score.accuracy
    if accuracy is None or score.samples < _FEWEST or not _by_chance(accuracy.original_top1, score):
        return None
    said = (
        f"the labels fit the original no better than chance: {100 * accuracy.original_top1:.3g} % right "
        f"of {accuracy.classes:,} classes"
    )
    offset, part = max(accuracy.shifted, key=lambda shift: shift[1])
    if part >= min(0.5, _CLEAR / accuracy.classes):
        way = "more" if offset > 0 else "less"
        return f"{said}; were every label one {way}, {100 * part:.3g} % would be (--label-offset)"
    return f"{said}; other numbers of the classes (--labels) or another preprocessing (--preprocess) may be right"


def _by_chance(part: float, score: Score) -> bool:
    """Whether guesses might well come to this part, too."""
    assert score.accuracy is not None
    chance = 1 / score.accuracy.classes
    return part <= chance + _DEVIATIONS * math.sqrt(chance * (1 - chance) / score.samples)
