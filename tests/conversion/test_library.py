"""The library: its inputs are never changed, its results are frozen, its example runs."""

import dataclasses
import doctest
import re
import textwrap

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

import tse_onnx
from tests.graphs import network, se_model, some_input
from tests.running import run


def test_the_example_of_the_package_runs(tmp_path, monkeypatch, capsys):
    example = textwrap.dedent("\n".join(line for line in tse_onnx.__doc__.splitlines() if line.startswith("    ")))
    assert "tse_onnx.convert(" in example
    onnx.save(network(28, 14), tmp_path / "in.onnx")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "example", "exec"), {})
    assert re.fullmatch(r"0\.\d+\n", capsys.readouterr().out)
    assert (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("home", ["tse_onnx", "tse_onnx.conversion.convert"])
def test_examples_with_a_prompt_hold(home):
    module = __import__(home, fromlist=["x"])
    assert doctest.testmod(module, raise_on_error=False).failed == 0


def test_a_model_proto_is_not_changed():
    model = network(28, 14)
    before = model.SerializeToString()
    result = tse_onnx.convert(model, rows=7)
    tse_onnx.find_blocks(model)
    tse_onnx.buffering(model)
    tse_onnx.convert(model, verify=False, input_shapes={"x": (1, 8, 28, 12)})
    assert model.SerializeToString() == before
    assert result.model is not model
    result.model.graph.node[0].name = "mine now"
    assert model.SerializeToString() == before


def test_even_an_unchanged_result_is_the_callers_own():
    model = se_model()
    for verify in (True, False):
        result = tse_onnx.convert(model, rows=16, verify=verify)
        result.model.graph.name = "mine now"
        assert model.graph.name == "g"


def test_a_graphsurgeon_graph_is_not_changed():
    graph = gs.import_onnx(se_model())
    before = gs.export_onnx(graph).SerializeToString()
    result = tse_onnx.convert(graph, rows=7)
    assert gs.export_onnx(graph).SerializeToString() == before
    assert [decision.status for decision in result.blocks] == ["converted"]
    assert result.verification.passed
    assert len(tse_onnx.find_blocks(graph)) == 1


def test_the_result_as_a_graphsurgeon_graph():
    model = se_model()
    graph = tse_onnx.convert(model, rows=7, means="pads").graph()
    assert isinstance(graph, gs.Graph)
    assert "AveragePool" in [node.op for node in graph.nodes]
    x = some_input(model)
    np.testing.assert_allclose(
        run(gs.export_onnx(graph), x), run(tse_onnx.convert(model, rows=7, means="pads").model, x), atol=1e-6
    )


@pytest.mark.parametrize("form", ["path", "text", "proto", "graph"])
def test_every_form_of_input_gives_the_same_model(tmp_path, form):
    model = se_model()
    onnx.save(model, tmp_path / "se.onnx")
    given = {"path": tmp_path / "se.onnx", "text": str(tmp_path / "se.onnx"), "proto": model,
             "graph": gs.import_onnx(model)}[form]  # fmt: skip
    result = tse_onnx.convert(given, rows=5, verify=False)
    x = some_input(model)
    np.testing.assert_array_equal(run(result.model, x), run(tse_onnx.convert(model, rows=5).model, x))
    assert [block.shape for block in tse_onnx.find_blocks(given)] == [(None, 8, 16, 12)]
    assert tse_onnx.buffering(given, rows=5).totals.after == 8 * 5 * 12


@pytest.mark.parametrize("given", [None, 7, b"bytes", object(), onnx.GraphProto(), ["a.onnx"]])
def test_anything_else_is_a_usage_error(given):
    with pytest.raises(tse_onnx.UsageError):
        tse_onnx.convert(given)


def test_results_are_frozen():
    result = tse_onnx.convert(se_model())
    for value in (result, result.report, result.verification, result.blocks[0], result.blocks[0].block,
                  result.report.buffering, result.report.buffering.totals, result.verification.checks[0]):  # fmt: skip
        field = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, None)


def test_every_error_is_one_of_the_family(tmp_path):
    family = [tse_onnx.UsageError, tse_onnx.ModelError, tse_onnx.DataError, tse_onnx.CheckFailed]
    assert all(issubclass(error, tse_onnx.TseError) for error in family)
    with pytest.raises(tse_onnx.ModelError):
        tse_onnx.find_blocks(tmp_path / "missing.onnx")
    with pytest.raises(tse_onnx.DataError):
        tse_onnx.convert(se_model(), data=tmp_path / "missing.npz")
    with pytest.raises(tse_onnx.UsageError):
        tse_onnx.buffering(se_model(), rows=0)
    with pytest.raises(tse_onnx.CheckFailed):
        tse_onnx.convert(se_model(), expect=5)


def test_a_machine_is_a_name_or_a_file_or_itself(tmp_path):
    model, out = network(28, 14), tmp_path / "out.onnx"
    (tmp_path / "own.toml").write_text('replay = "shared"\nbits = 8\n')
    own = tse_onnx.Machine(replay="shared", bits=8)
    found = [
        tse_onnx.convert(model, rows=7, machine=one, verify=False).report.verdict
        for one in (own, tmp_path / "own.toml")
    ]
    assert found[0] == found[1]
    assert found[0].machine == own
    finn = tse_onnx.convert(model, rows=7, machine="finn", verify=False).report.verdict
    assert finn.network.before == tse_onnx.stream(model, machine="finn").totals["min"].bytes
    with pytest.raises(tse_onnx.UsageError, match="did you mean finn"):
        tse_onnx.convert(model, out, machine="fin")
    assert not out.exists()


def test_public_names_exist_and_unknown_ones_do_not():
    for name in tse_onnx.__all__:
        assert getattr(tse_onnx, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = tse_onnx.nonsense


def test_input_shapes_bind_by_name():
    model = se_model("H", "W")
    (block,) = tse_onnx.find_blocks(model, input_shapes={"x": (3, 8, 20, 9)})
    assert block.shape == (3, 8, 20, 9)
    with pytest.raises(tse_onnx.ModelError, match=r"input_shapes=\{'x': "):
        tse_onnx.buffering(model)
    result = tse_onnx.convert(model, rows=7, input_shapes={"x": ("N", 8, 20, 9)})
    assert result.verification.passed
    dims = result.model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["N", 8, 20, 9]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_dynamic_batch_stays_dynamic(batch):
    model = se_model()
    converted = tse_onnx.convert(model, rows=7).model
    assert converted.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    x = some_input(model, batch=batch)
    together = run(converted, x)
    apart = np.concatenate([run(converted, one[None]) for one in x])
    np.testing.assert_allclose(together, apart, atol=1e-6)
