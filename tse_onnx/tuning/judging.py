"""A combination, and what one tiling for every block would have cost, on samples that nothing was chosen by."""

from __future__ import annotations

from collections.abc import Iterator

from tse_onnx.data.samples import Samples
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.tiling import RUNNING, Tiling
from tse_onnx.runtime.scores import Meter
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.bench import Bench
from tse_onnx.tuning.result import Judged, Point
from tse_onnx.tuning.selections import Selections

UNCHANGED, IN_FLOAT = "nothing but eight bits", "chosen, in float"
"""What is judged beside the rest where the network is in eight bits."""


def judged(
    bench: Bench, selections: Selections, chosen: Point, budget: int | None, samples: Samples
) -> Iterator[Judged]:
    """The chosen combination and uniform ones on samples that were not used to choose."""
    compared = [("chosen", chosen)]
    uniform = [("tile of 7 everywhere", Tiling(7, axis=selections.axis))]
    rows = sorted({_running_rows(one.choice) for menu in selections.menus for one in menu} - {0}, reverse=True)
    limit = chosen.bytes if budget is None else budget
    for number in rows:
        tiling = Tiling(number, squeeze=RUNNING, axis=selections.axis)
        selection = selections.uniform(tiling)
        if selection is not None and selections.bytes(selection) <= limit:
            uniform.append((f"running squeeze of {number} everywhere", tiling))
            break
    for title, tiling in uniform:
        selection = selections.uniform(tiling)
        if selection is not None:
            compared.append((title, selections.point(selection)))
    network, batches = bench.network, Batches(samples, bench.settings.settle)
    opened = [network.together(point.combination) for _, point in compared]
    if network.told_from is not None:
        before = bench.figure(selections.axis).of(())
        nothing = Point((), before, 0.0, 0.0, 0, None if bench.cycles is None else 0)
        compared += [(UNCHANGED, nothing), (IN_FLOAT, chosen)]
        opened += [network.together(()), network.told_from.together(chosen.combination)]
    meters = [Meter(network.outputs) for _ in compared]
    for done, batch in enumerate(batches):
        bench.say("judging", done, len(batches.numbers))
        reference = network.reference(batch.feed)
        start = network.start(batch.feed)
        for meter, stretch in zip(meters, opened, strict=True):
            if batch.begins:
                stretch.begin(start, batch.settle)
            meter.add(reference, stretch.run(start), batch.labels)
    for (title, point), meter in zip(compared, meters, strict=True):
        yield Judged(title, point, meter.result())


def _running_rows(choice: Choice | None) -> int:
    """The rows of a running squeeze without a calibration; 0 for everything else."""
    plain = isinstance(choice, Tiling) and choice.squeeze == RUNNING and choice.calibration is None
    return (choice.rows or 0) if plain and isinstance(choice, Tiling) else 0
