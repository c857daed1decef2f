"""What a first frame is scaled by where blocks take the gates of the frame before: the means of their gates on data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from tse_onnx.data.choice import Data
from tse_onnx.data.given import DataLike
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.decision.plan import Plan
from tse_onnx.decision.preparation import prepare
from tse_onnx.decision.selection import EVERYTHING, Selection
from tse_onnx.errors import DataError, UsageError
from tse_onnx.evaluation.run import Contender, Progress, Runner, batches, common_types
from tse_onnx.files.source import ModelLike, open_model
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.previous import Carried, Previous
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.search.match import DEFAULT_KINDS

# Digits of the numbers: a first frame needs no more, and more would only make plans longer.
_DIGITS = 5


def first_gates(
    model: ModelLike,
    *,
    data: DataLike | Data,
    plan: Plan | None = None,
    selection: Selection = EVERYTHING,
    input_shapes: InputShapes | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    threads: int = 0,
    progress: Progress | None = None,
) -> Plan:
    """`plan`, with `selection` worked into it, in which each block that takes the gates of the frame before says what a
    first frame is scaled by: the mean of its gates in `model` over the samples of `data`, for each channel.

    Without a plan every block takes them. Raises `DataError`, `ModelError`, and `UsageError` where no block takes them.
    """
    source = open_model(model)
    shapes = input_shapes or {}
    types = common_types([source], shapes)
    made = prepare(source, plan or Plan(Previous()), shapes, kinds, selection=selection)
    blocks = {one.block.name: one.form for one in made.decisions if isinstance(one.form, Carried) and one.form.value}
    if not blocks:
        raise UsageError("no block takes the gates of the frame before, so there is nothing to measure")
    chosen = data if isinstance(data, Data) else Data(data)
    samples = chosen.samples(types)
    names = list(dict.fromkeys(form.value for form in blocks.values()))
    runner = Runner(Contender.of(source), threads, names)
    sums: dict[str, np.ndarray] = {}
    count = 0
    for feed, _ in batches(samples, progress):
        values = runner.run(feed, names)
        size = len(next(iter(feed.values())))
        count += size
        for name, form in blocks.items():
            gates = np.moveaxis(values[form.value].astype(np.float64), form.channel, 0)
            sums[name] = sums.get(name, 0.0) + size * gates.reshape(len(gates), -1).mean(axis=1)
    choices: dict[str, Choice | None] = dict(made.plan.choices)
    for name, total in sums.items():
        if not np.isfinite(total).all():
            raise DataError(f"the gates of {quoted(name)} are not finite on {samples.text}")
        choices[name] = Previous(tuple(float(f"{number:.{_DIGITS}g}") for number in total / count))
    return replace(made.plan, choices=choices)
