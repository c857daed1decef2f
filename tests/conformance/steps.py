"""What is done with one case, and what does not come out as it should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from tests.command import tse_onnx
from tests.conformance.cases import Case, Values
from tse_onnx.data.feed import Feed
from tse_onnx.decision.inputs import bind
from tse_onnx.errors import CheckFailed, TseError
from tse_onnx.files.source import open_model
from tse_onnx.runtime.deadline import Deadline
from tse_onnx.runtime.session import Session
from tse_onnx.streaming.execute.certificate import certify, predicted, streamer_of
from tse_onnx.streaming.network.machine import Machine
from tse_onnx.streaming.network.read import network_of

STEPS = ("inspect", "report", "convert", "stream", "run")
NEITHER = "neither"
"""In place of a step: onnxruntime, which runs the nodes one by one, does not run the model as a whole, or gets other
numbers from it than the suite; which is no fault of ours."""
_SECONDS = 60.0
_INTERNAL = 70


@dataclass(frozen=True, order=True)
class Finding:
    """A step of a case that did not end as it should: the exit code, and what was said.

    0 is the code of a command that says that all is well where it is not.
    """

    case: str
    step: str
    code: int
    text: str = ""


def findings(case: Case, folder: Path) -> list[Finding]:
    """What is wrong with a case; files are written into `folder`, an empty one."""
    data = case.model()
    path, out = folder / "model.onnx", folder / "out.onnx"
    path.write_bytes(data)
    model = onnx.load_from_string(data)
    sets = case.data_sets(model)
    found = []
    for step, words in _commands(path, out, _shapes(model, sets[0][0] if sets else ())).items():
        done = tse_onnx(step, *words)
        if done.returncode:
            found.append(Finding(case.name, step, done.returncode, done.stderr.decode().strip()))
        elif step == "convert" and out.read_bytes() != data:
            found.append(Finding(case.name, step, 0, "other bytes, although there is no block"))
    if not any(finding.step == "stream" for finding in found):
        found += list(_run(case, path, model, sets))
    return found


def _commands(path: Path, out: Path, shapes: Iterable[str]) -> dict[str, tuple[object, ...]]:
    return {"inspect": (path,), "report": (path,), "convert": (path, out), "stream": (path, "--no-run", *shapes)}


def _shapes(model: ModelProto, fed: Values) -> Iterator[str]:
    """Bindings of the inputs that do not state their sizes."""
    for name, shape in _open(model, fed).items():
        yield "--input-shape"
        yield f"{name}:{','.join(map(str, shape))}"


def _open(model: ModelProto, fed: Values) -> dict[str, tuple[int, ...]]:
    return {
        value.name: array.shape
        for value, array in zip(_fed(model), fed, strict=False)
        if isinstance(array, np.ndarray)
        and value.type.tensor_type.HasField("shape")
        and any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }


def _fed(model: ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _run(case: Case, path: Path, model: ModelProto, sets: list[tuple[Values, Values]]) -> Iterator[Finding]:
    """The first run row by row on the suite's data that is refused, fails its certificate, or gives other numbers."""
    for given, wanted in sets:
        feed = {value.name: array for value, array in zip(_fed(model), given, strict=False) if array is not None}
        names = [value.name for value in model.graph.output]
        try:
            outputs = _streamed(path, model, feed)
            wrong = case.compare([outputs.get(name) for name in names], wanted)
            code = 1
        except CheckFailed as error:
            yield Finding(case.name, "run", 1, str(error))
            return
        except TseError as error:
            wrong, code = str(error), 2
        except Exception as error:  # a fault: what the command line would call an internal error
            yield Finding(case.name, "run", _INTERNAL, f"{type(error).__name__}: {error}")
            return
        if wrong:
            try:
                plain = Session(model, path.parent, threads=1).run(feed, names)
                right = code != 1 or not case.compare([plain[name] for name in names], wanted)
            except TseError:
                right = False
            yield Finding(case.name, "run" if right else NEITHER, code, wrong)
            return


def _streamed(path: Path, model: ModelProto, feed: Feed) -> dict[str, np.ndarray]:
    """The outputs of a run row by row, which has been held to onnxruntime's by a certificate before."""
    network = network_of(model, bind(open_model(path), _open(model, list(feed.values()))))
    certify(model, network, feed, folder=path.parent, deadline=Deadline(_SECONDS)).require()
    _, least = predicted(network, Machine())
    outputs = dict(streamer_of(model, network, folder=path.parent).run(least, feed).outputs)
    for value in model.graph.output:
        constant = network.constants.value(value.name)
        if constant is not None:  # as the shape of an input: known before anything streams
            outputs[value.name] = constant
    return outputs
