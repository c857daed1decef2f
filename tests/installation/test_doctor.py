"""Extras: which there are, what is said where one is missing, and that it is said before any work."""

import configparser
import os
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest

import tse_onnx as library
from tests.command import refused, tse_onnx, validated
from tests.graphs import network, some_input
from tse_onnx.installation import doctor as examination
from tse_onnx.installation.extras import EXTRAS

ROOT = Path(__file__).parents[2]
DEVELOPERS = {"bench", "hls4ml", "vela", "costs", "browser", "docs", "tools", "mutation", "dev"}


@pytest.fixture
def without(tmp_path, monkeypatch):
    """Environments in which some modules cannot be imported, in this process and in those that it starts."""

    def hide(*modules):
        class Hidden:
            def find_spec(self, name, *_):
                if name.partition(".")[0] in modules:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        for name in [name for name in sys.modules if name.partition(".")[0] in modules]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(
            f"import sys\n\n\nclass Hidden:\n    def find_spec(self, name, *rest):\n"
            f"        if name.partition('.')[0] in {modules!r}:\n            raise ModuleNotFoundError(f'No module named {{name!r}}')\n\n\n"
            f"sys.meta_path.insert(0, Hidden())\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        return {"PYTHONPATH": str(tmp_path / "site")}

    return hide


@pytest.fixture
def quick(monkeypatch):
    """No package is imported: that each can be is for one test to see."""
    monkeypatch.setattr(examination, "_import_trouble", lambda name: None)


def examined():
    done = tse_onnx("doctor", "--format", "json")
    return done, validated(done.stdout, "doctor")


def test_every_extra_of_the_package_is_for_users_or_for_developers():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(setup["options.extras_require"]) == EXTRAS.keys() | DEVELOPERS


def test_what_is_said_is_what_is_installed(quick):
    done, found = examined()
    assert done.returncode == 0
    assert found["ok"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = [line for line in setup["options"]["install_requires"].split("\n") if line and ";" not in line]
    assert [(one["name"], one["wanted"]) for one in found["packages"][: len(wanted)]] == [
        (line.split()[0], line.partition(" ")[2].replace(" ", "")) for line in wanted
    ]
    for package in found["packages"]:
        assert package["installed"] == metadata.version(package["name"])
    for extra in found["extras"]:
        names = {line.split()[0] for line in setup["options.extras_require"][extra["name"]].split("\n") if line}
        assert {package["name"] for package in extra["packages"]} == names
        assert extra["ok"] == all(package["installed"] for package in extra["packages"])
        assert extra["install"] == f"pip install 'tse-onnx[{extra['name']}]'"


def test_a_package_that_is_missing_or_too_old(quick, monkeypatch):
    own = metadata.version

    def version(name):
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return {"pillow": "9.5", "matplotlib": "3.7.0", "distributed": "2024.1"}.get(name) or own(name)

    monkeypatch.setattr(metadata, "version", version)
    done, found = examined()
    assert done.returncode == 0
    extras = {extra["name"]: extra for extra in found["extras"]}
    assert [extras[name]["ok"] for name in ("images", "plot", "tune", "dask")] == [False, True, False, False]
    assert extras["images"]["packages"][0]["trouble"] == "10 or newer is needed"
    text = tse_onnx("doctor").stdout.decode()
    assert "tune: pip install 'tse-onnx[tune]'" in text
    assert "pillow 9.5 cannot be used: 10 or newer is needed" in text
    assert "plot: pip" not in text


def test_where_the_package_is_not_installed_under_its_name(quick, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    done, found = examined()
    assert done.returncode == 1
    assert not found["ok"]
    assert found["packages"] == []


@pytest.mark.slow
def test_without_what_every_command_needs_it_says_so_and_nothing_else_happens(without):
    """Neither onnx, numpy nor rich: in a terminal as well, and with no traceback."""
    hidden = without("onnx", "numpy", "onnxruntime", "onnx_graphsurgeon", "rich", "scipy", "matplotlib", "distributed")
    done = tse_onnx("doctor", "--format", "json", env=hidden)
    assert done.returncode == 1
    found = validated(done.stdout, "doctor")
    broken = {one["name"]: one["trouble"] for one in found["packages"] if not one["ok"]}
    assert broken.keys() == {"onnx", "numpy", "onnxruntime", "onnx-graphsurgeon", "rich"}
    assert broken["onnx"] == "ModuleNotFoundError: No module named 'onnx'"
    extras = {extra["name"]: extra["ok"] for extra in found["extras"]}
    assert (extras["images"], extras["tune"]) == (True, False)
    (line,) = done.stderr.decode().splitlines()
    assert "pip install --force-reinstall" in line
    shown = tse_onnx("doctor", env=hidden | {"FORCE_COLOR": "1"})
    assert shown.returncode == 1
    assert b"scipy" in shown.stdout


@pytest.fixture
def folder(tmp_path):
    model = network(14, 7)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=some_input(model, batch=12))
    return tmp_path


TUNE = ("tune", "net.onnx", "--data", "x.npz", "--reduce", "10%", "--no-cache")


@pytest.mark.parametrize(
    ("words", "module", "says"),
    [
        (TUNE, "scipy", "choosing needs scipy: pip install 'tse-onnx[tune]'"),
        ((*TUNE, "--workers", 2), "distributed", "other processes need Dask: pip install 'tse-onnx[dask]'"),
        (("sensitivity", *TUNE[1:4], "--workers", 2), "distributed", "pip install 'tse-onnx[dask]'"),
        ((*TUNE, "--plot", "p.svg"), "matplotlib", "drawing needs matplotlib: pip install 'tse-onnx[plot]'"),
        (("report", "net.onnx", "--plot", "p.svg"), "matplotlib", "pip install 'tse-onnx[plot]'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_an_extra_is_missed_before_any_work(folder, without, monkeypatch, words, module, says):
    for work in ("tse_onnx.tuning.search._opened", "tse_onnx.conversion.convert.draft"):
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail("work was done"))
    without(module)
    before = sorted(os.listdir(folder))
    assert says in refused(tse_onnx(*words, cwd=folder))
    assert sorted(os.listdir(folder)) == before


def test_images_without_pillow(folder, without):
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(b"")
    without("PIL")
    with pytest.raises(library.DataError, match="reading images needs pillow: pip install 'tse-onnx\\[images\\]'"):
        library.convert(folder / "net.onnx", data=folder / "images")
