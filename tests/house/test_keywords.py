"""A program is told of keywords and functions, the command line of options and commands, in the same messages."""

import ast
import re

import onnx
import pytest
from onnx import ModelProto

import models
import tse_onnx
from tests.command import refused
from tests.command import tse_onnx as command
from tests.house.test_architecture import MODULES, ROOT, _room
from tse_onnx.errors import TseError
from tse_onnx.passes.settings import as_options, setting
from tse_onnx.passes.settings import command as called

OPTION = re.compile(r"(?<![\w-])--[a-z{]")
SPELLED = {
    "passes/settings.py": "which spells options",
    "tse_onnx/targets/known.py": "notes on targets, which are data",
    "tse_onnx/installation/extras.py": "the table of tse-onnx doctor",
    "tse_onnx/decision/plan_file.py": "the head of a file that is for convert",
}


@pytest.mark.parametrize("module", MODULES)
def test_no_message_below_the_command_line_spells_an_option(module):
    file = MODULES[module]
    if _room(file) == "tse_onnx/cli/" or file.relative_to(ROOT).as_posix() in SPELLED:
        return
    tree = ast.parse(file.read_text())
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            assert not OPTION.search(node.value), f"{file}:{node.lineno} spells an option: setting() says it to both"


@pytest.mark.parametrize(("name", "value", "keyword", "option"), [
    ("rows", None, "rows", "--rows"),
    ("max_rows", 20, "max_rows=20", "--max-rows 20"),
    ("max_macs", 20.0, "max_macs=20.0", "--max-macs 20"),
    ("kinds", {"grn"}, "kinds={'grn'}", "--kinds grn"),
    ("loss", "noise", "loss='noise'", "--loss noise"),
    ("retile", True, "retile=True", "--retile"),
    ("verify", False, "verify=False", "--no-verify"),
    ("input_shapes", {"x": (1, 3, "H", "W")}, "input_shapes={'x': (1, 3, 'H', 'W')}", "--input-shape x:1,3,H,W"),
])  # fmt: skip
def test_a_setting_is_said_to_both(name, value, keyword, option):
    assert setting(name, value) == keyword
    with as_options():
        assert setting(name, value) == option
    assert setting(name, value) == keyword


def test_a_command_is_said_to_both():
    assert called("tune") == "tse_onnx.tune"
    assert called("plan", squeeze="previous") == "tse_onnx.plan(squeeze='previous')"
    with as_options():
        assert called("plan", squeeze="previous") == "tse-onnx plan --squeeze previous"


def _dynamic() -> ModelProto:
    model = models.load("digits_se")
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, "NCHW", strict=True):
        dim.dim_param = name
    del model.graph.value_info[:]
    return model


DIGITS = models.load("digits_se")
FEW = {"input": models.digits()[0][:8]}
LABELLED = {**FEW, "labels": models.digits()[1][:8]}
NETWORK = {"data": FEW, "cache": False, "menu": tse_onnx.Menu(rows=(3,), squeezes=("tile",))}
SELECTION = tse_onnx.Selection

WRONG = {
    "rows": lambda: tse_onnx.convert(DIGITS, rows=0),
    "rows of a height": lambda: tse_onnx.convert(DIGITS, selection=SELECTION(stages=((999, 3),))),
    "rows of a block": lambda: tse_onnx.convert(DIGITS, selection=SELECTION(rows=(("nope", 3),))),
    "rows of a head": lambda: tse_onnx.convert(DIGITS, selection=SELECTION(rows=(("/10/GlobalAveragePool", 3),))),
    "include": lambda: tse_onnx.convert(DIGITS, selection=SELECTION(include=("nope",))),
    "exclude": lambda: tse_onnx.convert(DIGITS, selection=SELECTION(exclude=("nope*",))),
    "min height": lambda: tse_onnx.convert(DIGITS, selection=SELECTION(min_height=9999)),
    "shape of no input": lambda: tse_onnx.convert(DIGITS, input_shapes={"foo": (1, 1, 32, 32)}),
    "shape of few dimensions": lambda: tse_onnx.convert(DIGITS, input_shapes={"input": (1, 1, 32)}),
    "shape of other sizes": lambda: tse_onnx.convert(DIGITS, input_shapes={"input": (1, 1, 64, 64)}),
    "shape of no size": lambda: tse_onnx.convert(DIGITS, input_shapes={"input": (1, 1, -4, 32)}),
    "no size": lambda: tse_onnx.convert(_dynamic()),
    "no size of a network": lambda: tse_onnx.stream(_dynamic()),
    "no size of layers": lambda: tse_onnx.profile(_dynamic()),
    "kinds": lambda: tse_onnx.convert(DIGITS, kinds={"nope"}),
    "upsample": lambda: tse_onnx.convert(DIGITS, upsample="nope"),
    "means": lambda: tse_onnx.convert(DIGITS, means="nope"),
    "target": lambda: tse_onnx.convert(DIGITS, target="nope"),
    "machine": lambda: tse_onnx.convert(DIGITS, machine="nope"),
    "verify": lambda: tse_onnx.convert(DIGITS, verify=False, max_drift=1),
    "tolerance": lambda: tse_onnx.convert(DIGITS, tolerance=1.0),
    "max drift": lambda: tse_onnx.convert(DIGITS, max_drift=-1),
    "seed": lambda: tse_onnx.convert(DIGITS, seed=-1),
    "threads": lambda: tse_onnx.convert(DIGITS, threads=-1),
    "time limit": lambda: tse_onnx.convert(DIGITS, time_limit=0),
    "max buffer": lambda: tse_onnx.convert(DIGITS, max_buffer=-1),
    "min saved": lambda: tse_onnx.convert(DIGITS, min_saved=101),
    "out": lambda: tse_onnx.convert(DIGITS, "-"),
    "alls": lambda: tse_onnx.convert(DIGITS, tiling=tse_onnx.Recompute(), alls="a.alls", verify=False),
    "preprocess": lambda: tse_onnx.convert(DIGITS, data=FEW, preprocess="nope"),
    "a plan's block": lambda: tse_onnx.convert(DIGITS, plan=tse_onnx.Plan(choices={"nope": None})),
    "exact": lambda: tse_onnx.exact_plan(DIGITS, 0.99),
    "exact within MACs": lambda: tse_onnx.exact_plan(DIGITS, 0.3, max_macs=1),
    "verified original": lambda: tse_onnx.verify(DIGITS, DIGITS),
    "evaluated nothing": lambda: tse_onnx.evaluate(DIGITS, data=FEW),
    "stages of no conversion": lambda: tse_onnx.evaluate(DIGITS, DIGITS, data=FEW, by_stage=True),
    "settle": lambda: tse_onnx.evaluate(DIGITS, data=FEW, rows=7, settle=True),
    "both ways": lambda: tse_onnx.evaluate(DIGITS, data=FEW, rows=7, tiling=tse_onnx.Tiling(3)),
    "frames": lambda: tse_onnx.Data("clips", frames=True, limit=3),
    "labels": lambda: tse_onnx.tune(DIGITS, reduce=0.3, loss="top1", **NETWORK),
    "loss": lambda: tse_onnx.sensitivity(DIGITS, loss="nope", **NETWORK),
    "figure": lambda: tse_onnx.sensitivity(DIGITS, figure="nope", **NETWORK),
    "frozen": lambda: tse_onnx.sensitivity(DIGITS, freeze="nope", **NETWORK),
    "axis": lambda: tse_onnx.sensitivity(DIGITS, axis="nope", **NETWORK),
    "settled samples": lambda: tse_onnx.sensitivity(DIGITS, settle=True, **NETWORK),
    "cache": lambda: tse_onnx.sensitivity(DIGITS, **NETWORK | {"cache": "/dev/null/x"}),
    "previous": lambda: tse_onnx.sensitivity(DIGITS, **NETWORK | {"menu": tse_onnx.Menu(squeezes=("previous",))}),
    "processes": lambda: tse_onnx.sensitivity(DIGITS, workers=1, scheduler="tcp://x:1", **NETWORK),
    "budget": lambda: tse_onnx.tune(DIGITS, budget=1, trials=1, points=0, **NETWORK),
    "budget and reduction": lambda: tse_onnx.tune(DIGITS, budget=1, reduce=0.5, **NETWORK),
    "held out": lambda: tse_onnx.tune(DIGITS, reduce=0.5, held_out=2.0, **NETWORK),
    "factor": lambda: tse_onnx.fold(DIGITS, factor=1),
    "folded nodes": lambda: tse_onnx.fold(DIGITS, nodes=("nope",)),
    "checked": lambda: tse_onnx.check(DIGITS, "nope"),
    "array": lambda: tse_onnx.cost(DIGITS, "nope"),
    "convention": lambda: tse_onnx.profile(DIGITS, convention="nope"),
    "reports": lambda: tse_onnx.diff({}, {}),
    "strings": lambda: tse_onnx.convert(_of_strings(), data=None),
}  # fmt: skip


def _of_strings() -> ModelProto:
    model = models.load("digits_se")
    model.graph.input.append(onnx.helper.make_tensor_value_info("words", onnx.TensorProto.STRING, [1]))
    return model


@pytest.mark.parametrize("name", WRONG)
def test_an_error_of_the_library_names_no_option(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TseError) as error:
        WRONG[name]()
    assert not OPTION.search(str(error.value)), error.value
    assert "tse-onnx " not in str(error.value), error.value
    assert not list(tmp_path.iterdir())


def test_reasons_of_the_library_name_no_option():
    for name in ("efficientnet_b0_torchscript_17", "digits_se"):
        tiled = tse_onnx.convert(models.load(name), rows=7, verify=False)
        selection = SELECTION(first=2, min_height=20)
        for result in (tiled, tse_onnx.convert(tiled.model, rows=3, verify=False),
                       tse_onnx.convert(models.load(name), selection=selection, verify=False)):  # fmt: skip
            for text in (result.summary(), *(block.reason or "" for block in result.blocks)):
                assert not OPTION.search(text), text


def test_advice_in_an_error_can_be_followed(tmp_path, monkeypatch):
    """The keyword with its value, as it is printed, is one that a program can give; the option likewise."""
    model = _dynamic()
    with pytest.raises(tse_onnx.ModelError) as error:
        tse_onnx.convert(model, verify=False)
    given = re.search(r"input_shapes=(\{.*?\})", str(error.value))[1].replace("3", "1")
    assert tse_onnx.convert(model, verify=False, input_shapes=ast.literal_eval(given)).report.buffering.totals.converted
    onnx.save(model, tmp_path / "m.onnx")
    line = refused(command("report", "m.onnx", cwd=tmp_path))
    option = re.search(r"--input-shape (\S+)", line)[1].replace("3", "1")
    assert command("report", "m.onnx", "--input-shape", option, cwd=tmp_path).returncode == 0
