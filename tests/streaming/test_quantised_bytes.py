"""What a Q/DQ model holds, against the float model that it was made of: the same rows, in bytes of whole numbers."""

import onnx
import pytest
from onnx import TensorProto, parser

import models
import tse_onnx
from tests.command import tse_onnx as tse_onnx_command
from tse_onnx.files.source import open_model
from tse_onnx.passes.graph.held import held_type
from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.quantisation.qdq.quantised import quantised
from tse_onnx.quantisation.qdq.ranges import ranges_on
from tse_onnx.quantisation.qdq.scheme import Scheme
from tse_onnx.quantisation.qdq.subject import Subject

MADE = "_DequantizeLinear_Output"


@pytest.fixture(scope="module")
def nets():
    """The float network, and with the inputs of its convolutions, or all values, in eight bits."""
    model, (images, _) = models.load("digits_se"), models.digits()
    made = {"float": model}
    for operators in ("convolutions", "all"):
        scheme = Scheme(operators=operators)
        subject = Subject.of(open_model(model), operators)
        ranges = ranges_on(subject, [{"input": images[:8]}, {"input": images[8:16]}], scheme)
        made[operators] = quantised(subject, ranges, scheme)
    return made


@pytest.mark.parametrize("machine", ["ideal", "cascade", tse_onnx.Machine(grain="pixel")])
def test_a_quantised_tensor_has_the_rows_of_the_float_one_and_a_byte_for_each_element(nets, machine):
    before, after = (tse_onnx.stream(nets[name], machine=machine) for name in ("float", "all"))
    rows = {buffer.tensor: buffer.min.rows for buffer in before.buffers}
    found = {buffer.tensor.removesuffix(MADE): buffer for buffer in after.buffers}
    missing = [name for name in rows if name not in found]
    assert [name for name in missing if rows[name] > 1] == []
    for name, count in rows.items():
        if name in found and name + MADE == found[name].tensor:
            assert found[name].min.rows == count, name
            assert found[name].dtype == "uint8"
            assert found[name].min.bytes == found[name].min.elements
    assert sum(name + MADE == buffer.tensor for name, buffer in found.items()) >= 30


def test_no_quantiser_is_a_stage(nets):
    found = tse_onnx.stream(nets["all"])
    assert not any("QuantizeLinear" in buffer.maker for buffer in found.buffers if MADE not in buffer.tensor)
    assert not any(buffer.tensor.endswith("_QuantizeLinear_Output") for buffer in found.buffers)


@pytest.mark.parametrize(("name", "size"), [("float", 4), ("convolutions", 4), ("all", 1)])
def test_the_metric_is_in_bytes_of_what_waits(nets, name, size):
    totals = tse_onnx.buffering(nets[name]).totals
    assert (totals.before, totals.after) == (69120, 24192)
    assert (totals.before_bytes, totals.after_bytes) == (size * 69120, size * 24192)
    recomputed = tse_onnx.buffering(nets[name], tiling=tse_onnx.Recompute()).totals
    assert recomputed.after < recomputed.before
    least, most = {"float": (4, 4), "convolutions": (1, 4), "all": (1, 1)}[name]  # what is read by convolutions alone
    assert least * recomputed.after <= recomputed.after_bytes <= most * recomputed.after


def test_a_run_row_by_row_proves_it(nets, tmp_path):
    onnx.save(nets["all"], tmp_path / "net.onnx")
    done = tse_onnx_command("stream", "net.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().count("✓ Proved") == 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("y = DequantizeLinear(q, s, z)", TensorProto.UINT8),
        ("d = DequantizeLinear(q, s, z) y = Transpose(d)", TensorProto.UINT8),
        ("d = DequantizeLinear(q, s, z) y = Relu(d)", TensorProto.FLOAT),
        ("d = DequantizeLinear(q, s, z) c = Transpose(d) e = QuantizeLinear(c, s, z) y = DequantizeLinear(e, s, z)",
         TensorProto.UINT8),
    ],
)  # fmt: skip
def test_the_type_that_a_value_is_held_in(body, kind):
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (uint8[2, 3] q) => (float y) <float s = {{0.5}}, uint8 z = {{3}}> {{ {body} }}'
    model = onnx.shape_inference.infer_shapes(parser.parse_model(text))
    known = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.input)}
    index = GraphIndex.of_graph(model.graph)
    assert held_type("y", index, lambda name: known.get(name, TensorProto.FLOAT)) == kind
