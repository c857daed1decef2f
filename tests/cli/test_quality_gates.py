"""Bounds on the verdict: what keeps them, what misses them, and what is said and written then."""

import json
import os

import onnx
import pytest

import tse_onnx as library
from tests.command import refused, tse_onnx, validated
from tests.graphs import network, plain_model


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(28, 14, 7), tmp_path / "net.onnx")
    onnx.save(plain_model(), tmp_path / "plain.onnx")
    return tmp_path


# By hand: three maps of 8 channels and 12 columns in float, 28, 14 and 7 high; 7 of each are held with tiles of 7 rows.
BEFORE, AFTER = 4 * 8 * 12 * (28 + 14 + 7), 4 * 8 * 12 * (7 + 7 + 7)
SAVED = 100 * (1 - 21 / 49)


@pytest.fixture
def whole(folder):
    """What the whole network holds, by the command that counts nothing else: on the converted model as it lies there."""
    assert tse_onnx("convert", "net.onnx", "there.onnx", "--no-verify", cwd=folder).returncode == 0
    found = tse_onnx("stream", "there.onnx", "--no-run", "--format", "json", cwd=folder)
    os.remove(folder / "there.onnx")
    return json.loads(found.stdout)["dataflow"]["totals"]["min"]["bytes"]


@pytest.fixture
def saved(folder, whole):
    """Per cent of what the whole network holds that are saved."""
    found = tse_onnx("stream", "net.onnx", "--no-run", "--format", "json", cwd=folder)
    return 100 * (1 - whole / json.loads(found.stdout)["dataflow"]["totals"]["min"]["bytes"])


@pytest.mark.parametrize("command", [("report", "net.onnx"), ("convert", "net.onnx", "out.onnx", "--no-verify")])
def test_a_bound_is_kept_up_to_the_last_byte(folder, whole, saved, command):
    assert abs(saved - SAVED) > 1  # which of the two figures is looked at makes a difference
    kept = ("--max-buffer", AFTER, "--max-memory", whole, "--min-saved", f"{saved - 1e-9:.9f}%")
    found = validated(tse_onnx(*command, *kept, "--format", "json", cwd=folder).stdout, "report")
    assert [gate["passed"] for gate in found["quality_gates"]] == [True, True, True]
    assert [gate["value"] for gate in found["quality_gates"]] == [AFTER, whole, pytest.approx(saved)]
    assert [gate["figure"] for gate in found["quality_gates"]] == ["scales", "network", "network"]
    missed = ("--max-buffer", AFTER - 1, "--max-memory", whole - 1, "--min-saved", f"{saved + 1e-6:.9f}")
    done = tse_onnx(*command, *missed, "--format", "json", cwd=folder)
    assert done.returncode == 1
    assert [gate["passed"] for gate in validated(done.stdout, "report")["quality_gates"]] == [False, False, False]
    (line,) = done.stderr.decode().splitlines()
    for said in (
        f"{AFTER:,} bytes",
        f"{AFTER - 1:,}",
        f"{whole:,} bytes",
        f"{whole - 1:,}",
        f"{saved:.6g}"[:7],
        "scales",
        "whole network holds is saved",
    ):
        assert said in line


@pytest.mark.parametrize("gate", [("--max-buffer", "8KB"), ("--max-memory", "1B"), ("--min-saved", "60")], ids=" ".join)
def test_nothing_is_written_where_a_bound_is_missed(folder, gate):
    before = sorted(os.listdir(folder))
    refused(tse_onnx("convert", "net.onnx", "out.onnx", *gate, "--report", "r.json", cwd=folder), 1)
    done = tse_onnx("report", "net.onnx", *gate, "--csv", "rows.csv", cwd=folder)
    assert done.returncode == 1
    assert f"({gate[0][2:]})." in done.stdout.decode()
    assert sorted(os.listdir(folder)) == before


def test_the_machine_that_is_named_is_counted_on(folder, whole):
    assert whole % 4 == 0
    gate = ("report", "net.onnx", "--max-memory", whole // 4)
    assert tse_onnx(*gate, "--bits", 8, cwd=folder).returncode == 0
    assert tse_onnx(*gate, cwd=folder).returncode == 1
    assert tse_onnx("convert", "net.onnx", "o.onnx", *gate[2:], "--bits", 8, "--no-verify", cwd=folder).returncode == 0


@pytest.mark.parametrize("command", [("report", "net.onnx"), ("convert", "net.onnx", "out.onnx", "--no-verify")])
def test_what_is_saved_is_of_the_scales_where_the_network_is_not_counted(folder, saved, command):
    gate = ("--min-saved", f"{(saved + SAVED) / 2:.6f}")  # kept by one figure, missed by the other
    done = tse_onnx(*command, *gate, "--no-dataflow", "--format", "json", cwd=folder)
    (found,) = validated(done.stdout, "report")["quality_gates"]
    assert (found["figure"], found["passed"], done.returncode) == ("scales", saved < SAVED, int(saved > SAVED))
    done = tse_onnx(*command, *gate, "--format", "json", cwd=folder)
    (found,) = validated(done.stdout, "report")["quality_gates"]
    assert (found["figure"], found["passed"], done.returncode) == ("network", saved > SAVED, int(saved < SAVED))


def test_the_library_looks_at_the_network_as_well(folder, saved):
    kept = library.convert(folder / "net.onnx", verify=False, min_saved=saved - 1e-9)
    assert [judgement.figure for judgement in kept.report.judgements] == ["network"]
    with pytest.raises(library.CheckFailed, match="of what the whole network holds is saved"):
        library.convert(folder / "net.onnx", verify=False, min_saved=saved + 1e-6)


def test_gates_are_judged_before_the_result_is_verified(folder, monkeypatch):
    monkeypatch.setattr("tse_onnx.verification.verify.verify", lambda *_, **__: pytest.fail("verified"))
    with pytest.raises(library.CheckFailed) as failed:
        library.convert(folder / "net.onnx", max_buffer=AFTER - 1)
    assert failed.value.report.judgements == (library.Judgement("max-buffer", "scales", AFTER - 1, AFTER),)
    assert failed.value.verification is None


def test_without_blocks_nothing_is_held_and_nothing_saved(folder):
    assert tse_onnx("report", "plain.onnx", "--max-buffer", 0, "--min-saved", 0, cwd=folder).returncode == 0
    refused(tse_onnx("convert", "plain.onnx", "out.onnx", "--min-saved", "0.1", cwd=folder), 1)


def test_a_bound_on_what_is_not_counted_is_no_bound_that_is_kept(folder):
    assert "--no-dataflow" in refused(
        tse_onnx("convert", "net.onnx", "o.onnx", "--max-memory", "1MiB", "--no-dataflow", cwd=folder)
    )
    strange = network(28, 14, 7)
    strange.graph.node[-1].op_type = "Strange"
    (folder / "strange.onnx").write_bytes(strange.SerializeToString())
    for words in (("report", "strange.onnx"), ("convert", "strange.onnx", "o.onnx", "--no-verify")):
        assert "Strange" in refused(tse_onnx(*words, "--max-memory", "1GiB", cwd=folder))
        assert not (folder / "o.onnx").exists()
        assert tse_onnx(*words, "--max-buffer", "1GiB", cwd=folder).returncode == 0
        done = tse_onnx(*words, "--min-saved", "99", cwd=folder)  # it is not known of the network, and said so
        assert done.returncode == 1
        assert "of what the scales hold back is saved" in done.stderr.decode()


@pytest.mark.parametrize(
    "bad", [{"max_buffer": -1}, {"max_memory": -5}, {"min_saved": 101}, {"min_saved": float("nan")}]
)
def test_bounds_that_make_no_sense(folder, bad):
    with pytest.raises(library.UsageError):
        library.convert(folder / "net.onnx", verify=False, **bad)


@pytest.mark.parametrize("text", ["101", "-1", "half", "", "0x5", "nan"])
def test_what_is_no_per_cent(folder, text):
    assert "--min-saved" in refused(tse_onnx("report", "net.onnx", f"--min-saved={text}", cwd=folder))
