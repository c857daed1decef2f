"""What the previous frame's gates cost where something moves: a pan over photographs, at several speeds.

    python -m benchmarks.frames MODEL IMAGES [--preprocess PRESET] [--size 224] [--json FILE]

MODEL is a classifier of images. Each image is enlarged until there is room for the fastest pan, and is a stream at each
speed: a window that moves to the right by so many pixels with each frame. A stream begins with its first frame, run
until the gates are its own, which is not counted; every further frame is compared with the original's. The same windows
go through tiles of 7 rows, as a price to compare with. Then the scene stands still, and begins with what a plan says of
a first frame: 1, or the means of the gates on these images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from tse_onnx.data.preprocess import Preprocess

    Window = Callable[[int], NDArray[np.float32]]
    """A batch of images as they are so many pixels to the right."""

SPEEDS = (2, 8, 16)
FRAMES = 4  # of a stream that count
STILL = 12  # frames of a scene that stands still
BATCH = 20  # streams side by side


@dataclass(frozen=True)
class Row:
    """One model on all streams of one kind."""

    model: str
    what: str
    frames: int
    agreement: float
    kl: float
    sqnr_db: float | None

    def __str__(self) -> str:
        kl = f"{self.kl:.4f}" if self.kl < 100 else f"{self.kl:.0f}"
        sqnr = "equal" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB"
        return f"{self.model:<21} {self.what:<20} {self.frames:>6} {100 * self.agreement:>8.1f} % {kl:>8} {sqnr:>9}"


class Pans:
    """The images of a folder as streams of windows of one size."""

    def __init__(self, folder: Path, size: int, preprocess: Preprocess) -> None:
        from tse_onnx.data.images import image_files

        self.files = [folder / name for name in image_files(folder)]
        self._size, self._preprocess = size, preprocess
        self._wide = size + max(SPEEDS) * FRAMES

    def batches(self) -> Iterator[Window]:
        """The streams, so many at a time."""
        for start in range(0, len(self.files), BATCH):
            yield partial(self._window, [self._enlarged(path) for path in self.files[start : start + BATCH]])

    def _enlarged(self, path: Path) -> Image:
        from PIL import Image

        with Image.open(path) as image:
            shown = image.convert("RGB")
        scale = self._wide / min(shown.size)
        return shown.resize((round(shown.width * scale), round(shown.height * scale)), Image.Resampling.BICUBIC)

    def _window(self, images: Sequence[Image], right: int) -> NDArray[np.float32]:
        import numpy as np

        size, made = self._size, []
        for image in images:
            left, top = (image.width - self._wide) // 2 + right, (image.height - size) // 2
            crop = image.crop((left, top, left + size, top + size))
            made.append(self._preprocess.pixels(crop, size, size).transpose(2, 0, 1))
        return np.ascontiguousarray(np.stack(made), np.float32)


def measured(model: Path, pans: Pans, size: int) -> list[Row]:
    """Each model at each speed, and frame by frame on a scene that stands still."""
    import numpy as np

    import tse_onnx
    from tse_onnx.decision.inputs import fed_inputs
    from tse_onnx.evaluation.run import Contender, FrameRunner
    from tse_onnx.files.source import open_model
    from tse_onnx.runtime.scores import Meter

    source = open_model(model)
    name = fed_inputs(source)[0].name
    shapes = {name: (None, 3, size, size)}
    original = FrameRunner(Contender.of(source), 0)
    outputs = original.outputs

    def converted(plan: tse_onnx.Plan) -> FrameRunner:
        made = tse_onnx.convert(model, plan=plan, input_shapes=shapes, verify=False).model
        return FrameRunner(Contender("a conversion", made, source.folder), 0)

    def row(title: str, what: str, meter: Meter) -> Row:
        score = meter.result()[0]
        if score.agreement is None or score.kl is None:
            raise SystemExit(f"output {score.output} of {model} does not look like classes")
        return Row(title, what, score.samples, score.agreement, score.kl, score.sqnr_db)

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "first.npy"), np.concatenate([window(0) for window in pans.batches()]))
        means = tse_onnx.first_gates(source, data=Path(folder, "first.npy"), input_shapes=shapes)
    previous = tse_onnx.Plan(tse_onnx.Previous())
    rows = []
    for title, plan in (("previous", previous), ("tiles of 7 rows", tse_onnx.Plan())):
        runner = converted(plan)
        for speed in SPEEDS:
            meter = Meter(outputs)
            for window in pans.batches():
                runner.begin({name: window(0)}, settle=True)
                for number in range(1, FRAMES + 1):
                    feed = {name: window(speed * number)}
                    meter.add(original.run(feed, outputs), runner.run(feed, outputs))
            rows.append(row(title, f"{speed} pixels a frame", meter))
    for title, plan in (("previous, first by 1", previous), ("previous, by means", means)):
        runner = converted(plan)
        meters = [Meter(outputs) for _ in range(STILL)]
        for window in pans.batches():
            feed = {name: window(0)}
            runner.begin(feed, settle=False)
            reference = original.run(feed, outputs)
            for meter in meters:
                meter.add(reference, runner.run(feed, outputs))
        rows += [row(title, f"still, frame {number}", meter) for number, meter in enumerate(meters, 1)]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    from tse_onnx.data.presets import preprocess_of

    parser = argparse.ArgumentParser(prog="python -m benchmarks.frames", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--preprocess", default="unit", help="what images become, as for tse-onnx (default: unit)")
    parser.add_argument("--size", type=int, default=224, help="height and width of the model's input (default: 224)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    pans = Pans(given.images, given.size, preprocess_of(given.preprocess))
    rows = measured(given.model, pans, given.size)
    print(f"{'model':<21} {'scene':<20} {'frames':>6} {'agreement':>10} {'KL':>8} {'SQNR':>9}")
    for row in rows:
        print(row)
    if given.json is not None:
        found: dict[str, Any] = {"model": given.model.name, "images": len(pans.files), "rows": list(map(asdict, rows))}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
