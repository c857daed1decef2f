"""Whether labels are those of a network at all: where it gets no more right than chance would, they hardly are."""

from __future__ import annotations

import math

from tse_onnx.passes.settings import setting
from tse_onnx.runtime.scores import Score

_FEWEST = 30
"""Samples below which chance reaches far."""
_DEVIATIONS = 3
_ALIKE = 10
"""How many times better than chance labels may fit that are no labels of the network: neighbours are often alike."""
_LEAST = 0.02
"""A part of samples that are right that no network comes to by this likeness."""
_CLEAR = 5
"""How many times better other labels have to fit to be named."""


def doubt(score: Score) -> str | None:
    """What speaks against the labels that an output was judged by, and what would help; None where nothing does."""
    accuracy = score.accuracy
    if accuracy is None or score.samples < _FEWEST:
        return None
    right, chance = accuracy.original_top1, 1 / accuracy.classes
    by_chance = chance + _DEVIATIONS * math.sqrt(chance * (1 - chance) / score.samples)
    fit = f"{100 * right:.3g} % of the samples, of {accuracy.classes:,} classes, are right"
    said = f"the labels fit the original hardly better than chance, {fit}"
    offset, part = max(accuracy.shifted, key=lambda shift: shift[1])
    if part >= max(_CLEAR * right, min(0.5, _CLEAR * chance)):
        way = "more" if offset > 0 else "less"
        return f"{said}; were every label one {way}, {100 * part:.3g} % would be ({setting('label_offset')})"
    if right > max(by_chance, min(_LEAST, _ALIKE * chance)):
        return None
    return f"{said}; other labels ({setting('labels')}) or another preprocessing ({setting('preprocess')}) may fit"
