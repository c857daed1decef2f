"""Models on streams of frames: each is fed what it handed on with the frame before, and compared frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from tse_onnx.data.samples import Samples
from tse_onnx.evaluation.result import StreamScores
from tse_onnx.evaluation.run import Contender, FrameRunner, Progress, batches, opened
from tse_onnx.runtime.scores import Meter, Score


def compare_frames(
    original: Contender,
    others: Sequence[Contender],
    samples: Samples,
    threads: int = 0,
    progress: Progress | None = None,
    settle: bool = False,
) -> tuple[list[tuple[Score, ...]], tuple[StreamScores, ...]]:
    """The scores of each of `others` over all frames, and those of each stream; with `settle` the first frame of each
    is run until the gates are its own.

    Raises `ModelError` where a model does not run, lacks an output, or what it hands on.
    """
    runner, runners = opened(FrameRunner, original, others, threads)
    ends = (*samples.starts[1:], samples.count)
    whole = [Meter(runner.outputs) for _ in runners]
    streams: list[StreamScores] = []
    by_stream, by_frame = list[Meter](), list[list[tuple[Score, ...]]]()
    for number, (feed, _) in enumerate(batches(samples, progress)):
        if number in samples.starts:
            by_stream, by_frame = [Meter(runner.outputs) for _ in runners], [[] for _ in runners]
            for one in (runner, *runners):
                one.begin(feed, settle)
        reference = runner.run(feed, runner.outputs)
        for place, one in enumerate(runners):
            values = one.run(feed, runner.outputs)
            alone = Meter(runner.outputs)
            for meter in (whole[place], by_stream[place], alone):
                meter.add(reference, values)
            by_frame[place].append(alone.result())
        if number + 1 in ends:
            names = [PurePosixPath(name) for name in samples.names[samples.starts[len(streams)] : number + 1]]
            streams.append(
                StreamScores(
                    names[0].parent.as_posix(),
                    tuple(name.name for name in names),
                    tuple(meter.result() for meter in by_stream),
                    tuple(map(tuple, by_frame)),
                )
            )
    return [meter.result() for meter in whole], tuple(streams)
