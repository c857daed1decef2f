"""The wheel holds everything: the passes, the marker of its types, the command."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import onnx
import pytest

from tests.graphs import network

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building in the checkout would leave its own folders there
    source.mkdir()
    for name in ("tse_onnx", "passes", "setup.cfg", "pyproject.toml", "backend", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    _run(*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ".", cwd=source)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment with the wheel in it; what the wheel depends on is taken from the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    _run(*PIP, "--python", programs / "python", "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(_run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Behind its own packages, so that the wheel's are found first; links of an editable install are not followed.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return programs


def _run(*command, **options):
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"tse_onnx/{path.relative_to(ROOT / 'tse_onnx')}" for path in (ROOT / "tse_onnx").rglob("*.py")}
    expected |= {f"tse_onnx/passes/{path.relative_to(ROOT / 'passes')}" for path in (ROOT / "passes").rglob("*.py")}
    templates = ROOT / "tse_onnx" / "report" / "html" / "templates"
    expected |= {f"tse_onnx/{path.relative_to(ROOT / 'tse_onnx')}" for path in templates.iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == expected | {"tse_onnx/py.typed"}
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.slow
def test_the_command_works_from_the_wheel(installed, tmp_path):
    onnx.save(network(28, 14), tmp_path / "net.onnx")
    where = _run(
        installed / "python", "-c", "import tse_onnx.passes.blocks.tiling as t; print(t.__file__)", cwd=tmp_path
    )
    assert str(installed.parent) in where
    program = installed / "tse-onnx"
    assert "tse-onnx" in _run(program, "--version", cwd=tmp_path)
    assert "2 blocks" in _run(program, "inspect", "net.onnx", cwd=tmp_path)
    assert "Converted 2 blocks" in _run(program, "convert", "net.onnx", "out.onnx", cwd=tmp_path)
    assert (tmp_path / "out.onnx").exists()
    _run(program, "report", "net.onnx", "--html", "report.html", cwd=tmp_path)
    assert "<table" in (tmp_path / "report.html").read_text(encoding="utf-8")
