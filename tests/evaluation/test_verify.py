"""A converted model that lies on disk is proved, or not, whatever other tools have made of it."""

import json
import time
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

import tse_onnx as library
from tests.command import refused, tse_onnx, validated
from tests.graphs import network, se_model


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(28, 14), tmp_path / "net.onnx")
    library.convert(tmp_path / "net.onnx", tmp_path / "tiled.onnx", rows=7)
    return tmp_path


def optimised(path, out):
    """What onnxruntime makes of a model: constants folded, what nothing reads removed."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def changed(folder, change):
    """The converted model with something changed, as `other.onnx`."""
    model = onnx.load(folder / "tiled.onnx")
    change(model)
    onnx.save(model, folder / "other.onnx")


def scaled(model, find, factor):
    """Multiply the constants that `find` picks."""
    found = [tensor for tensor in model.graph.initializer if find(tensor.name)]
    assert found
    for tensor in found:
        tensor.CopyFrom(
            numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), tensor.name)
        )


def stripped(model):
    """A tool that drops all metadata."""
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]


def test_what_a_conversion_wrote_is_that_conversion(folder):
    done = tse_onnx("verify", "net.onnx", "tiled.onnx", cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[0] == "✓ tiled.onnx is that conversion, node by node."
    found = validated(tse_onnx("verify", "net.onnx", "tiled.onnx", "--format", "json", cwd=folder).stdout, "verify")
    assert found["passed"]
    assert found["identical"]
    assert all(one["equal"] for one in (*found["outputs"], *found["blocks"]))
    assert [one["block"] for one in found["blocks"]] == ["block0_squeeze", "block1_squeeze"]
    assert found["report"]["totals"]["converted"] == 2
    assert found["report"]["verification"]["passed"]


@pytest.mark.parametrize("names", [("net.onnx", "-"), ("-", "tiled.onnx")])
def test_one_of_the_models_may_come_from_standard_input(folder, names):
    piped = (folder / ("tiled.onnx" if names[1] == "-" else "net.onnx")).read_bytes()
    done = tse_onnx("verify", *names, cwd=folder, stdin=piped)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[0].endswith(b"is that conversion, node by node.")


@pytest.mark.parametrize(
    "how",
    [{"rows": 5}, {"rows": 3, "upsample": "gather"}, {"plan": library.Plan(library.Tiling(3, squeeze="running"))}],
)
def test_what_another_tool_made_of_it_is_proved(folder, how):
    library.convert(folder / "net.onnx", folder / "tiled.onnx", **how)
    optimised(folder / "tiled.onnx", folder / "optimised.onnx")
    assert library.verify(folder / "net.onnx", folder / "tiled.onnx").passed
    done = tse_onnx("verify", "net.onnx", "optimised.onnx", "--format", "json", cwd=folder)
    found = validated(done.stdout, "verify")
    assert (found["passed"], found["identical"]) == (True, False)
    assert [one["block"] for one in found["blocks"]] == ["block0_squeeze", "block1_squeeze"]


@pytest.mark.parametrize("factor", [1.001, 0.99, -1.0])
@pytest.mark.parametrize("part", ["block0", "block1"])
def test_a_changed_weight_is_noticed_at_its_block(folder, part, factor):
    changed(folder, lambda model: scaled(model, lambda name: name == f"w2_{part[-1]}", factor))
    done = tse_onnx("verify", "net.onnx", "other.onnx", cwd=folder)
    assert done.returncode == 1
    assert b"is not what a conversion of net.onnx computes" in done.stdout
    (line,) = done.stderr.decode().splitlines()
    assert f"block '{part}_squeeze' of other.onnx" in line
    proof = library.verify(folder / "net.onnx", folder / "other.onnx")
    assert not proof.passed
    with pytest.raises(library.CheckFailed, match=f"{part}_squeeze"):
        proof.require()


def test_a_change_behind_the_blocks_is_noticed_at_the_output(folder):
    last = onnx.load(folder / "tiled.onnx").graph.node[-1]
    changed(folder, lambda model: scaled(model, lambda name: name in last.input, 1.001))
    proof = library.verify(folder / "net.onnx", folder / "other.onnx")
    assert all(score.sqnr_db is None for _, score in proof.blocks)
    assert len(proof.failures) == 1
    assert "output 'y'" in proof.failures[0]
    assert library.verify(folder / "net.onnx", folder / "other.onnx", min_sqnr=50).passed
    assert not library.verify(folder / "net.onnx", folder / "other.onnx", min_sqnr=70).passed


def test_a_tile_that_gets_the_gate_of_another_is_noticed(folder):
    def swap(model):
        node = next(node for node in model.graph.node if node.op_type == "Gather" and "block0" in node.name)
        places = next(value.attribute[0].t for value in model.graph.node if node.input[1] in value.output)
        rows = numpy_helper.to_array(places).copy()
        rows[[6, 7]] = rows[[7, 6]]  # the rows on either side of a border
        places.CopyFrom(numpy_helper.from_array(rows, places.name))

    library.convert(folder / "net.onnx", folder / "tiled.onnx", rows=7, upsample="gather")
    changed(folder, swap)
    assert not library.verify(folder / "net.onnx", folder / "other.onnx").passed


def test_what_has_lost_its_memory_needs_to_be_told(folder):
    changed(folder, stripped)
    assert "give a plan or --rows" in refused(tse_onnx("verify", "net.onnx", "other.onnx", cwd=folder))
    done = tse_onnx("verify", "net.onnx", "other.onnx", "--rows", "7", cwd=folder)
    assert done.returncode == 0
    assert tse_onnx("verify", "net.onnx", "other.onnx", "--rows", "6", cwd=folder).returncode == 1


def test_a_block_that_lost_its_name_is_said_to_be_hidden(folder):
    def rename(model):
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["renamed" if name == "s0" else name for name in names]
        for value in model.graph.value_info:
            value.name = "renamed" if value.name == "s0" else value.name

    assert any("s0" in node.output for node in onnx.load(folder / "tiled.onnx").graph.node)
    changed(folder, rename)
    proof = library.verify(folder / "net.onnx", folder / "other.onnx", plan=library.Plan(library.Tiling(7)))
    assert proof.passed
    assert proof.hidden == ("block0_squeeze",)
    done = tse_onnx("verify", "net.onnx", "other.onnx", "--rows", "7", cwd=folder)
    assert b"Not compared at their own values, which have other names now: block 'block0_squeeze'." in done.stdout


def test_half_precision_is_held_to_less(folder):
    def halved(model):
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and tensor.name == "w2_0":
                tensor.CopyFrom(
                    numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name + "16")
                )
                model.graph.node.insert(0, onnx.helper.make_node("Cast", [tensor.name], ["w2_0"], to=TensorProto.FLOAT))

    changed(folder, halved)
    proof = library.verify(folder / "net.onnx", folder / "other.onnx")
    assert (proof.bound, proof.passed) == (40, True)


@pytest.mark.parametrize("how", [{}, {"dynamic": True}])
def test_sizes_are_taken_from_the_converted_model_or_the_option(folder, how):
    onnx.save(se_model("H", "W"), folder / "dynamic.onnx")
    shape = {"x": (1, 8, 20, 9)}
    library.convert(folder / "dynamic.onnx", folder / "out.onnx", rows=7, input_shapes=shape, **how)
    option = ["--input-shape", "x:1,8,20,9"] if how else []
    done = tse_onnx("verify", "dynamic.onnx", "out.onnx", *option, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["net.onnx", "net.onnx"],
        ["-", "-"],
        ["net.onnx"],
        ["net.onnx", "missing.onnx"],
        ["net.onnx", "tiled.onnx", "--min-sqnr", "nan"],
        ["net.onnx", "tiled.onnx", "--data", "missing.npy"],
        ["net.onnx", "tiled.onnx", "--preprocess", "inception"],
        ["other.onnx", "tiled.onnx"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_input_is_one_line(folder, arguments):
    onnx.save(se_model(), folder / "other.onnx")
    refused(tse_onnx("verify", *arguments, cwd=folder))


def test_the_numbers_are_those_of_the_data(folder):
    data = np.random.default_rng(3).standard_normal((5, 8, 28, 12)).astype(np.float32)
    np.save(folder / "x.npy", data)
    changed(folder, lambda model: scaled(model, lambda name: name == "w2_1", 1.01))
    found = json.loads(
        tse_onnx("verify", "net.onnx", "other.onnx", "--data", "x.npy", "--format", "json", cwd=folder).stdout
    )
    outputs = []
    for name in ("tiled.onnx", "other.onnx"):
        session = ort.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        outputs.append(session.run(["y"], {"x": data})[0].astype(np.float64))
    noise = outputs[1] - outputs[0]
    assert found["outputs"][0]["samples"] == 5
    assert found["outputs"][0]["max_abs"] == pytest.approx(np.abs(noise).max(), rel=1e-3)
    assert found["outputs"][0]["sqnr_db"] == pytest.approx(
        10 * np.log10((outputs[0] ** 2).sum() / (noise**2).sum()), abs=0.1
    )


def test_the_time_limit_covers_the_comparison_as_well(folder, monkeypatch):
    from tse_onnx.evaluation import verify as module

    line = refused(tse_onnx("verify", "net.onnx", "tiled.onnx", "--time-limit", "1e-9", cwd=folder), 1)
    assert "time limit" in line
    assert tse_onnx("verify", "net.onnx", "tiled.onnx", "--time-limit", "1000", cwd=folder).returncode == 0
    # A conversion that is done in time, and a comparison that is not.
    made = module.carry_out

    def slow(*given, **said):
        found = made(*given, **{**said, "checks": replace(said["checks"], time_limit=None)})
        time.sleep(0.02)
        return found

    monkeypatch.setattr(module, "carry_out", slow)
    with pytest.raises(library.CheckFailed, match="time limit"):
        library.verify(folder / "net.onnx", folder / "tiled.onnx", time_limit=0.02)
