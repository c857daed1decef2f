"""What changed between two reports: against the reports themselves, and whatever a file has in it."""

import copy
import json
import math

import numpy as np
import onnx
import pytest

import models
import tse_onnx as library
from tests.command import refused, tse_onnx, validated
from tests.graphs import network
from tse_onnx.difference.schema import diff_json
from tse_onnx.report.diff import DiffView

MODEL, OTHER = "net.onnx", "other.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Reports of one network, cut in two ways, and of another."""
    folder = tmp_path_factory.mktemp("diff")
    onnx.save(network(28, 14, 7), folder / MODEL)
    onnx.save(network(28, 21), folder / OTHER)

    def put(name, *words):
        done = tse_onnx(*words, "--format", "json", cwd=folder)
        assert done.returncode == 0, done.stderr.decode()
        (folder / name).write_bytes(done.stdout)

    put("seven.json", "report", MODEL, "--rows", 7)
    put("one.json", "report", MODEL, "--rows", 7, "--rows", "28:3")
    put("other.json", "report", OTHER, "--rows", 7)
    put("cascade.json", "report", MODEL, "--rows", 7, "--machine", "cascade")
    put("sums.json", "report", MODEL, "--rows", 7, "--no-dataflow")
    put("stream.json", "stream", MODEL, "--no-run")
    return folder


def told(folder, a, b):
    done = tse_onnx("diff", a, b, "--format", "json", cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return validated(done.stdout, "diff")


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_figures_are_those_of_the_reports(folder):
    found = told(folder, "seven.json", "one.json")
    a, b = (read(folder, name) for name in ("seven.json", "one.json"))
    figures = {figure["name"]: figure for figure in found["verdict"]}
    for name in ("scales", "network"):
        before, after = (report["verdict"][name]["after"] for report in (a, b))
        assert (figures[name]["a"], figures[name]["b"], figures[name]["change"]) == (before, after, after - before)
        assert after < before
        assert figures[f"{name}_before"]["change"] == 0
    assert figures["macs_added"]["change"] == b["totals"]["macs_added"] - a["totals"]["macs_added"] > 0
    assert not found["same"]
    assert found["notes"] == []
    first = a["blocks"][0]["name"]
    assert found["blocks"] == [
        {
            "name": first,
            "a": {"choice": "tile 7 rows", "bytes": 4 * 8 * 7 * 12, "macs_added": 3 * 64},
            "b": {"choice": "tile 3 rows", "bytes": 4 * 8 * 3 * 12, "macs_added": 9 * 64},
        }
    ]
    assert found["compared"] == 4
    flows = [report["dataflow"]["after"] for report in (a, b)]
    network = {figure["name"]: figure for figure in found["network"]}
    for figure in network.values():
        assert figure["a"] != figure["b"]
    assert [network["gate_min"][side] for side in "ab"] == [flow["kinds"]["gate"]["min"]["bytes"] for flow in flows]
    held = [{tensor["tensor"]: tensor["min"]["bytes"] for tensor in flow["tensors"]} for flow in flows]
    changed = {name for name in held[0] | held[1] if held[0].get(name) != held[1].get(name)}
    assert {tensor["name"] for tensor in found["tensors"]} == changed != set()
    sizes = [abs((tensor["b"] or 0) - (tensor["a"] or 0)) for tensor in found["tensors"]]
    assert sizes == sorted(sizes, reverse=True)


def test_the_way_back_has_the_opposite_changes(folder):
    there, back = told(folder, "seven.json", "one.json"), told(folder, "one.json", "seven.json")
    for key in ("verdict", "network", "tensors"):
        assert {one["name"]: (one["a"], one["b"]) for one in there[key]} == {
            one["name"]: (one["b"], one["a"]) for one in back[key]
        }


@pytest.mark.parametrize("name", ["seven.json", "stream.json", "sums.json"])
def test_a_report_is_the_same_as_itself(folder, name):
    found = told(folder, name, name)
    assert found["same"]
    assert found["blocks"] == found["network"] == found["tensors"] == found["notes"] == []
    assert tse_onnx("diff", name, name, cwd=folder).stdout.decode().splitlines()[-1] == "Nothing changed."


def test_what_is_hard_to_compare_is_said(folder):
    (note,) = told(folder, "seven.json", "other.json")["notes"]
    assert MODEL in note
    assert OTHER in note
    (note,) = told(folder, "seven.json", "cascade.json")["notes"]
    assert "fusion" in note
    kinds, *_ = told(folder, "seven.json", "stream.json")["notes"]
    assert "report" in kinds
    assert "stream" in kinds


def test_only_what_both_have_is_compared_between_commands(folder):
    found = told(folder, "seven.json", "stream.json")
    (network,) = found["verdict"]
    flow = read(folder, "stream.json")["dataflow"]
    assert (network["name"], network["b"]) == ("network", flow["totals"]["min"]["bytes"])
    assert found["blocks"] == []
    without = told(folder, "seven.json", "sums.json")
    assert without["network"] == without["tensors"] == without["blocks"] == []
    assert {one["name"]: one["b"] for one in without["verdict"]}["network"] is None


def test_blocks_come_and_go(folder):
    found = told(folder, "seven.json", "other.json")
    names = [{block["name"] for block in read(folder, name)["blocks"]} for name in ("seven.json", "other.json")]
    assert {block["name"] for block in found["blocks"] if block["b"] is None} == names[0] - names[1] != set()


def test_people_read_the_same(folder):
    text = tse_onnx("diff", "seven.json", "one.json", cwd=folder).stdout.decode()
    marked = tse_onnx("diff", "seven.json", "one.json", "--format", "markdown", cwd=folder).stdout.decode()
    for said in ("tile 7 rows", "tile 3 rows", "1 block changed.", "scales of the blocks", "rows on their way"):
        assert said in text
        assert said in marked
    assert "| --- | --- | --- | ---: | ---: | ---: |" in marked


@pytest.mark.slow
def test_a_plan_that_was_tuned_beside_its_conversion(tmp_path):
    models.save("digits_se", tmp_path / "digits.onnx")
    images, _ = models.digits()
    np.save(tmp_path / "digits.npy", images[:40])
    words = ("tune", "digits.onnx", "--data", "digits.npy", "--reduce", "30%", "--trials", 0, "--points", 0)
    words += ("--rows", "3,7", "--squeeze", "tile", "--no-cache")
    assert tse_onnx(*words, "-o", "plan.toml", "--report", "tune.json", cwd=tmp_path).returncode == 0
    words = ("convert", "digits.onnx", "o.onnx", "--plan", "plan.toml", "--report", "made.json")
    assert tse_onnx(*words, cwd=tmp_path).returncode == 0
    found = told(tmp_path, "tune.json", "made.json")
    assert found["compared"] == 4
    assert [one["change"] for one in found["verdict"]] == [0] * len(found["verdict"])
    assert found["blocks"] == []


BAD = {
    "nothing": b"",
    "not JSON": b"verdict",
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "a number": b"1e999",
    "no schema": b"{}",
    "another schema": b'{"schema": "tse-onnx/evaluate/1"}',
    "a later schema": b'{"schema": "tse-onnx/report/2"}',
    "escapes": b'{"schema": "\\u001b[31m"}',
    "deep": b"[" * 100_000,
    "NaN": b'{"schema": NaN}',
    "many digits": b"1" * 5000,
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_one_line(folder, tmp_path, bad):
    (tmp_path / "bad.json").write_bytes(BAD[bad])
    for words in (("bad.json", folder / "one.json"), (folder / "one.json", "bad.json")):
        assert "bad.json" in refused(tse_onnx("diff", *words, cwd=tmp_path))


def test_what_is_no_file(folder):
    assert "nowhere.json" in refused(tse_onnx("diff", "one.json", "nowhere.json", cwd=folder))
    refused(tse_onnx("diff", "one.json", ".", cwd=folder))
    refused(tse_onnx("diff", "one.json", cwd=folder))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seven.json", "stream.json"])
def test_any_field_may_be_wrong(folder, name):
    """Each field, one after the other, is something else or gone: read, or refused with its place."""
    whole = read(folder, name)
    for large in ("tensors", "stages", "machine"):  # a few of each are as good as all
        for flow in [whole["dataflow"], *(whole["dataflow"].get(side, {}) for side in ("before", "after"))]:
            if large in flow:
                flow[large] = flow[large][:2] if large == "tensors" else type(flow[large])()
    refusals: list[str] = []
    for path in list(_paths(whole)):
        for wrong in (None, "x\x1b", -1, math.inf, 10**30, True, [], {}, [1], ...):
            broken = copy.deepcopy(whole)
            place = broken
            for key in path[:-1]:
                place = place[key]
            if wrong is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = wrong
            try:
                found = library.diff(whole, broken)
            except library.UsageError as error:
                refusals.append(str(error))
            else:
                json.dumps(diff_json(found), allow_nan=False)
                DiffView(found).print(_Nowhere())
    assert len(refusals) > 100
    assert [text for text in refusals if not text.startswith("b is ")] == []


class _Nowhere:
    is_terminal = False

    def print(self, what, **_):
        str(what)


def _paths(found, path=()):
    if path:
        yield path
    steps = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in steps:
        yield from _paths(value, (*path, key))
