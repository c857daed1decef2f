"""One input of the fuzzer, and what has to hold for it whatever it is.

No command shows a traceback, hangs or writes anything but its output; an error is one line and exit code 2. What
`convert` writes is taken by onnx's checker and by onnxruntime if they took the input; outside the blocks it is the
input, byte for byte; and `restore` gives the whole input back.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto

import tse_onnx
from tests.command import tse_onnx as command
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import SECRET, SIDE_DATA, SIDE_FILE, some_model
from tse_onnx.errors import TseError

BOUND = (1, 8, 16, 12)  # what some inputs bind the input of their model to


@dataclass(frozen=True)
class Trial:
    """The bytes of a model, options for its conversion, a plan file, and the other commands to try."""

    model: bytes
    options: tuple[str, ...]
    plan: str
    others: tuple[tuple[str, ...], ...]
    verified: bool


def trial(seed: int, number: int) -> Trial:
    """Input `number` of a seed."""
    rng = random.Random(f"{seed}:{number}")
    return trial_of(mutated(some_model(rng), rng), rng)


def trial_of(model: bytes, rng: random.Random) -> Trial:
    """What to do with the bytes of a model, drawn by `rng`."""
    options = rng.choice(((), ("--rows", "3"), ("--rows", "2", "--kinds", "all"), ("--squeeze", "running", "--rows", "4"),
                          ("--patch", "3"), ("--cols", "2"), ("--upsample", "gather"), ("--upsample", "expand", "--rows", "1"),
                          ("--retile",), ("--retile", "--rows", "2"), ("--dynamic",), ("--rows", "2", "--balanced"),
                          ("--squeeze", "running", "--means", "cumsum"), ("--input-shape", ",".join(map(str, BOUND))), ("--axis", "1"),
                          ("--first", "1", "--rows", "5"), ("--exclude", "*e*")))  # fmt: skip
    others = rng.sample(
        (("inspect", "m.onnx"), ("inspect", "m.onnx", "--kinds", "all", "--format", "json"), ("explain", "m.onnx"),
         ("report", "m.onnx", "--rows", "3"), ("report", "m.onnx", "--format", "json"), ("plan", "m.onnx"),
         ("stream", "m.onnx", "--no-run"), ("stream", "m.onnx"), ("stream", "m.onnx", "--grain", "pixel", "--no-run"),
         ("restore", "m.onnx", "restored.onnx")), 2)  # fmt: skip
    if rng.random() < 0.1:  # these run the model many times
        others += [rng.choice(_ON_DATA)]
    plan = _some_plan(rng) if rng.random() < 0.1 else ""
    return Trial(model, options, plan, tuple(others), rng.random() < 0.4)


_DATA = ("--data", "data.npy", "--limit", "4")
_ON_DATA = (
    ("evaluate", "m.onnx", "--rows", "3", *_DATA),
    ("evaluate", "m.onnx", "--plan", "plan.toml", "--kinds", "all", *_DATA),
    ("noise", "m.onnx", "--rows", "3", *_DATA),
    ("sensitivity", "m.onnx", "--rows", "3,7", "--no-cache", *_DATA),
    ("sensitivity", "m.onnx", "--rows", "4", "--freeze", "any", "--no-cache", *_DATA),
    ("tune", "m.onnx", "--rows", "2,7", "--reduce", "50%", "--trials", "2", "--points", "2", "--no-cache", *_DATA),
    ("tune", "m.onnx", "--max-loss", "0.1", "--trials", "0", "--figure", "min", "--no-cache", *_DATA),
)  # fmt: skip
_PLANS = (
    'schema = "tse-onnx/plan/1"\ndefault = { rows = 7 }\n\n[blocks]\n"b" = { rows = 5, squeeze = "running", step = 2 }\n'
    '"c" = { squeeze = "global", note = "kept" }\n"d/e" = { rows = 7, cols = 7, balanced = true, axis = 1 }\n',
    'schema = "tse-onnx/plan/1"\n\n[blocks]\n"d" = { squeeze = "frozen", note = "hardly moves" }\n\n[gates]\n'
    '"d" = [1.0, 0.5, 0.25, 0.0, -1.0, 1e-3, 0.75, 1.0]\n',
    'schema = "tse-onnx/plan/1"\n\n[blocks]\n"d" = { rows = 8, squeeze = "running", step = 8, calibrated = true }\n\n'
    '[calibrations."d"]\nslopes = [0.5, 1.0]\noffsets = [\n  [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],\n'
    "  [0, 0, 0, 0, 0, 0, 0, 0],\n]\n",
)


def _some_plan(rng: random.Random) -> str:
    """A plan with letters dropped, repeated or replaced."""
    text = list(rng.choice(_PLANS))
    for _ in range(rng.randrange(6)):
        place = rng.randrange(len(text))
        text[place : place + rng.choice((0, 1, 1, 6))] = rng.choice(
            ("", "0", "-", "9" * 30, '"', "[", "{", "=", "\n", "\x1b", "\\", "é", "[" * 2000, ".5", "true", "'")
        )
    return "".join(text)


def attempt(given: Trial, root: Path) -> str:
    """Try one input in the folder `root`, which is made and removed; what became of it, in a word.

    Raises `AssertionError`, or whatever else escapes, where something does not hold.
    """
    home = root / "home"
    try:
        home.mkdir(parents=True)
        (home / "out").mkdir()
        (root / "secret.bin").write_bytes(SECRET * 100)
        (home / SIDE_FILE).write_bytes(SIDE_DATA)
        (home / "m.onnx").write_bytes(given.model)
        (home / "plan.toml").write_text(given.plan, encoding="utf-8")
        np.save(home / "data.npy", _samples(given.model))
        for words in given.others:
            _said(words, home)
        return _converted(given, home)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _samples(data: bytes) -> np.ndarray:
    """Four samples of noise for the first input of a model, of the size that it states if it is a small one."""
    try:
        model = ModelProto.FromString(data)
        stated = model.graph.input[0].type.tensor_type.shape.dim
        sizes = [min(max(dim.dim_value, 0), 64) or 5 for dim in stated][1:4]
    except (DecodeError, IndexError):
        sizes = []
    return np.random.default_rng(0).standard_normal((4, *(sizes or (8, 16, 12)))).astype(np.float32)


def _said(words: Sequence[str], home: Path) -> int:
    done = command(*words, cwd=home)
    shown = done.stdout.decode() + done.stderr.decode()
    odd = {letter for letter in shown if not letter.isprintable() and letter != "\n"}
    assert not odd, f"{words} prints {sorted(odd)}"
    # A check that fails is a find: nothing was asked for that a model could miss. But for what `stream` proves.
    # Nor for what a model computes that is no number: nothing can be verified there.
    odd_failure = any(text in done.stderr for text in (b"nan", b"inf"))
    excused = words[0] == "stream" or odd_failure or _beyond_numbers(home / "m.onnx")
    # Nor for a budget that no plan of a broken model fits.
    excused |= words[0] == "tune" and b"no plan needs as little as" in done.stderr
    # Sizes that inputs are bound to may contradict what the model states of other values.
    if done.returncode == 1 and words[0] == "convert":
        excused |= not _checked(_bound(home) if "--input-shape" in words else home / "m.onnx")
    allowed = (0, 1, 2) if excused else (0, 2)
    assert done.returncode in allowed, f"{words} ends with {done.returncode}: {done.stderr.decode()}"
    if done.returncode:
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1, f"{words} says {lines}"
        assert lines[0].startswith("Error: "), lines[0]
        assert done.returncode == 1 or not done.stdout, f"{words} prints although it fails"
    return done.returncode


def _beyond_numbers(path: Path) -> bool:
    """Whether a model is none that single precision can be trusted with: its batch is longer than Resize can count, or
    its gate divides, and by what may be nearly nothing."""
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        return False
    sizes = [dim.dim_value for value in model.graph.input for dim in value.type.tensor_type.shape.dim]
    parts = (model.graph, *model.functions, *(one.g for node in model.graph.node for one in node.attribute))
    return max(sizes, default=0) > 2**24 or any(node.op_type in _DIVIDING for part in parts for node in part.node)


_DIVIDING = frozenset({"Div", "Log", "Pow", "Reciprocal", "Tan", "Atanh", "BatchNormalization", "Mod"})


def _converted(given: Trial, home: Path) -> str:
    options = (*given.options, *(("--plan", "plan.toml") if given.plan else ()))
    code = _said(("convert", "m.onnx", "out/o.onnx", *options, *(() if given.verified else ("--no-verify",))), home)
    written = {path.name: path for path in (home / "out").rglob("*")}
    if code:
        assert not written, f"left {sorted(written)} behind"
        return "refused"
    for path in written.values():
        assert not path.is_symlink(), path
        assert SECRET not in path.read_bytes(), f"{path} holds what lies outside the model's folder"
    before, after = ModelProto.FromString(given.model), onnx.load(home / "out/o.onnx", load_external_data=False)
    if (home / "out/o.onnx").read_bytes() == given.model:
        return "unchanged"
    bound = "--input-shape" in options
    if "--retile" not in options:
        _outside(before, after, home, bound)
        if not bound:
            _undone(before, home)
    if given.verified:  # and then onnxruntime has run both
        return "converted, verified"
    # Without verification the sizes that a model states are believed: where they are false, so is what follows.
    original = _bound(home) if bound else home / "m.onnx"
    if _beyond_numbers(original) or not (_checked(original) and _accepted(original)):
        return "converted, not run"
    assert _checked(home / "out/o.onnx"), "onnx's checker takes the input and not the output"
    assert _accepted(home / "out/o.onnx"), "onnxruntime takes the input and not the output"
    return "converted"


def _outside(before: ModelProto, after: ModelProto, home: Path, bound: bool) -> None:
    """Whatever is not computed on the way to a converted block's scale comes out in its order and to the byte."""
    removed, _ = _difference(before.graph.node, after.graph.node)
    found = tse_onnx.find_blocks(
        home / "m.onnx", kinds=("se", "ese", "eca", "ge"), input_shapes={"": BOUND} if bound else None
    )
    blocks = [block for block in found if not block.scope]
    makers = {name: place for place, node in enumerate(before.graph.node) for name in node.output}
    reached, waiting = set[int](), [block.scale.position for block in blocks if block.scale is not None]
    while waiting:
        place = waiting.pop()
        if place not in reached:
            reached.add(place)
            waiting += [makers[name] for name in before.graph.node[place].input if name in makers]
    nested = {place for place, node in enumerate(before.graph.node) if any(one.g.node for one in node.attribute)}
    strange = [before.graph.node[place].name for place in removed if place not in reached | nested]
    assert not strange, f"nodes outside every block changed: {strange}"
    steps = {step.position for block in blocks for step in block.path}
    read = {name for place in (*removed, *steps) for name in before.graph.node[place].input}
    for field in ("initializer", "input", "output"):
        one, other = ([entry for entry in getattr(model.graph, field) if field != "initializer" or entry.name not in read]
                      for model in (before, after))  # fmt: skip
        same = [entry.SerializeToString() for entry in one] == [entry.SerializeToString() for entry in other]
        assert same or (bound and field == "input"), f"{field} changed"


def _difference(before: Sequence[NodeProto], after: Sequence[NodeProto]) -> tuple[list[int], list[int]]:
    """Positions of the nodes that are only in one of two lists; the others have to stand in the same order."""
    first, second = ([node.SerializeToString() for node in nodes] for nodes in (before, after))
    common = set(first) & set(second)
    assert [node for node in first if node in common] == [node for node in second if node in common], (
        "nodes changed places"
    )
    return [place for place, node in enumerate(first) if node not in common], [
        place for place, node in enumerate(second) if node not in common
    ]


def _bound(home: Path) -> Path:
    """The model with the sizes `BOUND` for its only input, not counting those that have initializers."""
    model = onnx.load(home / "m.onnx", load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    (value,) = (value for value in model.graph.input if value.name not in weights)
    del value.type.tensor_type.shape.dim[:]
    for size in BOUND:
        value.type.tensor_type.shape.dim.add().dim_value = size
    onnx.save(model, home / "bound.onnx")
    return home / "bound.onnx"


def _undone(before: ModelProto, home: Path) -> None:
    if any(entry.key.startswith("tse_onnx.") for node in before.graph.node for entry in node.metadata_props):
        return  # the way back undoes what was there before, as well
    try:
        back = tse_onnx.restore(home / "out/o.onnx")
    except TseError as error:
        raise AssertionError(f"what was written cannot be restored: {error}") from error
    back_model, weights = back.model, back.model.graph.initializer
    del weights[:], before.graph.initializer[:]  # their bytes were compared; their names of files may be others
    assert back_model.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True), (
        "not undone"
    )


def _accepted(path: Path) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def _checked(path: Path) -> bool:
    # A type for the value that is called nothing is that of every input that is left out, as soon as there is one.
    if any(not value.name for value in onnx.load(path, load_external_data=False).graph.value_info):
        return False
    try:
        onnx.checker.check_model(os.fspath(path), full_check=True)
    except Exception:
        return False
    return True
