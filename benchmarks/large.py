"""`tse-onnx convert --no-verify` of a model with 3 GB of external weights, against copying its files.

    python -m benchmarks.large [--runs N] [--gigabytes G] [--make FOLDER]

The model is a chain of convolutions with a squeeze-and-excite block behind each; its weights are in one file, or in a
file for each tensor, in a folder. There are two floors: `cp`, which leaves the data in memory for the system to write
out later, and `cp` with `sync` of the copies, so that the disk has them in the end, as it has those of a conversion. It
takes the room of two such models where temporary files go.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import COMMAND, FLOORS, ROOT, Cost, Ratio, compare, cost, times

GIGABYTES = 3.0
CHANNELS, EXTENT = 1024, 14
AIM, MOST_MEMORY = 1.1, 200.0


def make(folder: Path, gigabytes: float, in_one_file: bool) -> None:
    """Write the model and its weights into `folder`."""
    import numpy as np
    import onnx
    from onnx import TensorProto, external_data_helper, helper

    random = np.random.default_rng(0)
    noise = random.standard_normal(2**22, np.float32)
    shape = [1, CHANNELS, EXTENT, EXTENT]
    graph = onnx.GraphProto(name="large")
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    one = (folder / "weights.bin").open("wb") if in_one_file else None
    written = 0

    def weight(name: str, *dims: int) -> str:
        nonlocal written
        count = int(np.prod(dims))
        scale = np.float32((2 / np.prod(dims[1:])) ** 0.5)
        location, offset = ("weights.bin", one.tell()) if one else (f"weights/{name}.bin", 0)
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        file = one or (folder / location).open("wb")
        for start in range(0, count, len(noise)):  # the same noise again and again: drawing it takes longer
            file.write((noise[: count - start] * scale).tobytes())
        if not one:
            file.close()
        tensor = graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=dims, raw_data=b"x")
        external_data_helper.set_external_data(tensor, location, offset, 4 * count)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        written += 4 * count
        return name

    def node(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(operator, inputs, [name], name=f"{name}_node", **attributes))
        return name

    value, block = "x", 0
    while written < gigabytes * 1e9:
        at, block = f"block{block}", block + 1
        kernel = weight(f"{at}.weight", CHANNELS, CHANNELS, 3, 3)
        deep = node("Conv", [value, kernel], f"{at}.conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        deep = node("Relu", [deep], f"{at}.act")
        mean = node("GlobalAveragePool", [deep], f"{at}.mean")
        reduce = weight(f"{at}.reduce.weight", CHANNELS // 4, CHANNELS, 1, 1)
        small = node("Relu", [node("Conv", [mean, reduce], f"{at}.reduce")], f"{at}.reduce.act")
        excite = weight(f"{at}.excite.weight", CHANNELS, CHANNELS // 4, 1, 1)
        gate = node("Sigmoid", [node("Conv", [small, excite], f"{at}.excite")], f"{at}.gate")
        value = node("Mul", [deep, gate], f"{at}.scaled")
    if one:
        one.close()
    graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, shape))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def compared(folder: Path, runs: int, what: str) -> list[Ratio]:
    """The ratios for the model in `folder`, with pairs of runs in turn, each into a folder that is empty."""
    source = folder / "model.onnx"

    def fresh() -> Path:
        shutil.rmtree(folder.parent / "output", ignore_errors=True)
        (folder.parent / "output").mkdir()
        subprocess.run(["sync"], check=True)  # what came before is not to be written out meanwhile
        return folder.parent / "output"

    def ours() -> Cost:
        return cost((COMMAND, "convert", source, fresh() / "model.onnx", "--no-verify"))

    def copy(synced: bool) -> Callable[[], Cost]:
        return lambda: cost(("/bin/sh", FLOORS / "copy_files.sh", folder, fresh(), "sync" if synced else ""))

    def in_place() -> Cost:
        return cost((COMMAND, "convert", source, folder / "tiled.onnx", "--no-verify"))

    rounds = [(ours(), copy(True)(), copy(False)(), in_place()) for _ in range(runs + 1)][1:]
    return [
        times(f"{what}: time to cp and sync", AIM, [(one, synced) for one, synced, _, _ in rounds]),
        times(f"{what}: time to cp", float("inf"), [(one, plain) for one, _, plain, _ in rounds]),
        times(f"{what}, beside it: time to cp", float("inf"), [(one, plain) for _, _, plain, one in rounds]),
        compare(f"{what}: peak memory, of 200 MiB", 1.0, [(one.peak, MOST_MEMORY) for one, *_ in rounds], "MiB"),
    ]


def make_outside(folder: Path, gigabytes: float, in_one_file: bool) -> None:
    """`make` in a process of its own: what this one holds would count as the peak of its children."""
    code = "import sys; from pathlib import Path; from benchmarks.large import make; "
    code += "make(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == 'True')"
    command = [sys.executable, "-c", code, str(folder), str(gigabytes), str(in_one_file)]
    subprocess.run(command, cwd=ROOT, check=True)


def run(folder: Path, runs: int, gigabytes: float = GIGABYTES) -> list[Ratio]:
    """The ratios, for `python -m benchmarks`."""
    found = []
    for in_one_file in (True, False):
        home = folder / "large"
        (home / "model").mkdir(parents=True)
        make_outside(home / "model", gigabytes, in_one_file)
        how = "one file" if in_one_file else "a file per tensor"
        found += compared(home / "model", runs, f"convert --no-verify, {gigabytes:g} GB in {how}")
        shutil.rmtree(home)
    return found


def main() -> int:
    """Print the ratios."""
    from benchmarks.measure import HEADER, line

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large", description="Large external weights, as ratios."
    )
    parser.add_argument("--runs", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help="of weights (default: 3)")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="only write the model there")
    options = parser.parse_args()
    if options.make:
        options.make.mkdir(parents=True, exist_ok=True)
        make(options.make, options.gigabytes, True)
        return 0
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for ratio in run(Path(folder), options.runs, options.gigabytes):
            print(line(ratio), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
