"""What a rule refuses is one line about the model; what goes wrong inside a rule is a fault of the program."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import tse_onnx
from tests.command import tse_onnx as command
from tests.streams import stream_model
from tse_onnx import Machine, ModelError
from tse_onnx.streaming.depths import model as model_figures
from tse_onnx.streaming.depths import total as total_figures
from tse_onnx.streaming.network import read
from tse_onnx.streaming.network.needs.axis import ROWS, Axis
from tse_onnx.streaming.network.needs.table import flow_of
from tse_onnx.streaming.network.needs.unfit import Unfit
from tse_onnx.streaming.network.needs.view import Operand, View
from tse_onnx.streaming.network.read import network_of

MAP = Operand("x", (1, 4, 8, 8), Axis(2, 8), streams=True)
FLAT = Operand("x", (1, 4), None, streams=True)
SCALAR = Operand("x", (), None, streams=True)


KNOWN = {}


def weight(*dims):
    return Operand("w", dims, None, streams=False)


def known(*values):
    name = str(len(KNOWN))
    KNOWN[name] = np.array(values)
    return Operand(name, (len(values),), None, streams=False)


def flow(op, operands, dims=(1, 4, 8, 8), **attributes):
    node = helper.make_node(op, ["x"] * len(operands), ["y"], **attributes)
    return flow_of(View(node, tuple(operands), (dims,), 0, 18, KNOWN.get), ROWS)


@pytest.mark.parametrize("op", ["Conv", "Transpose", "Gather", "Concat", "Resize", "Softmax", "CumSum"])
def test_a_node_whose_inputs_are_left_out_is_refused(op):
    more = {"axis": 2} if op == "Concat" else {}
    operands = [None, MAP] if op in ("Concat", "Resize") else [] if op in ("Transpose", "Softmax", "CumSum") else [MAP]
    with pytest.raises(Unfit):
        flow(op, operands, **more)


@pytest.mark.parametrize(
    ("op", "operands", "more"),
    [
        ("Conv", [MAP, weight(4, 4)], {}),
        ("Conv", [FLAT, weight(4, 4, 3, 3)], {}),
        ("Conv", [MAP, weight(4, 4, 3, 3)], {"strides": [0, 1]}),
        ("Conv", [MAP, weight(4, 4, 3, 3)], {"dilations": [0, 1]}),
        ("Conv", [MAP, weight(4, 4, 3, 3)], {"auto_pad": b"\xff"}),
        ("ConvTranspose", [MAP, weight(4, 4, 3, 3)], {"strides": [0, 1]}),
        ("Transpose", [MAP], {"perm": [0, 1, 3, 3]}),
        ("DepthToSpace", [MAP], {"blocksize": 0}),
        ("Concat", [SCALAR, MAP], {"axis": 2}),
        ("Softmax", [SCALAR], {"dims": ()}),
        ("Split", [MAP], {"dims": (), "axis": 2}),
        ("Slice", [MAP, known(0), known(8), known(2), known(1, 2)], {}),
        ("Pad", [MAP, known(1, 1)], {}),
        ("Tile", [MAP, known(1, 2)], {}),
        ("Resize", [MAP, None, known(1.0, 1.0, 0.0, 1.0)], {}),
        ("Resize", [MAP, None, known(1.0, 1.0, np.nan, 1.0)], {}),
        ("Resize", [MAP, None, known(1.0, 1.0, 1e-45, 1.0)], {"mode": "linear"}),
        ("ReduceMean", [SCALAR, known(2)], {"dims": ()}),
        ("CumSum", [MAP, known()], {}),
        ("Relu", [MAP], {"dims": ()}),
    ],
)
def test_what_does_not_go_together_is_refused(op, operands, more):
    with pytest.raises(Unfit):
        flow(op, operands, **more)


def test_what_a_rule_refuses_is_the_model(monkeypatch):
    def refuse(view, direction):
        raise Unfit("so it is")

    monkeypatch.setattr(read, "flow_of", refuse)
    with pytest.raises(ModelError, match=r"^Relu 'y' does not fit the shapes of its tensors$"):
        tse_onnx.stream(stream_model("y = Relu(x)", (1, 4, 8, 8)))


@pytest.mark.parametrize("fault", [IndexError, KeyError, ValueError, ZeroDivisionError])
def test_a_fault_inside_a_rule_is_a_fault_of_the_program(fault, monkeypatch, tmp_path):
    def broken(view, direction):
        raise fault("a slip")

    monkeypatch.setattr(read, "flow_of", broken)
    path = tmp_path / "model.onnx"
    onnx.save(stream_model("y = Relu(x)", (1, 4, 8, 8)), path)
    with pytest.raises(fault):
        tse_onnx.stream(path)
    assert command("stream", path, "--no-run").returncode == 70


@pytest.mark.parametrize("figures", ["measured", "total"])
def test_a_fault_of_the_figures_is_no_fault_of_the_model(monkeypatch, figures):
    def broken(*given):
        raise IndexError("of the program")

    for where in (model_figures, total_figures):
        monkeypatch.setattr(where, "simulate", broken)
    network = network_of(stream_model("y = Relu(x)", (1, 2, 6, 4)))
    counted = {"measured": lambda: model_figures.measured(network, Machine(), ""),
               "total": lambda: total_figures.total(network, Machine(), "asap")}  # fmt: skip
    with pytest.raises(IndexError):
        counted[figures]()
