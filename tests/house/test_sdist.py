"""The source distribution holds everything that the tests need, and is the same bytes wherever it is built."""

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = [
    ".ci", ".dockerignore", ".gitignore", ".pre-commit-config.yaml", ".pre-commit-hooks.yaml", "CONTRIBUTING.md", "Dockerfile", "action.yml", "CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "backend", "benchmarks", "docs", "examples",
    "mkdocs.yml", "models", "passes", "pyproject.toml", "ruff.toml", "setup.cfg", "tests", "tse_onnx",
]  # fmt: skip

pytestmark = pytest.mark.slow


def _checkout(folder, time):
    """A copy of the working tree, without what is made in it, by somebody else and at another time."""
    folder.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in KEPT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name, **({"ignore": unwanted} if copy is shutil.copytree else {}))
    for path in sorted(folder.rglob("*"), reverse=time % 2 == 0):
        if path.is_file() and not path.stat().st_mode & 0o100:
            path.chmod(0o600 if time % 2 else 0o664)
        os.utime(path, (time, time))
    return folder


def _built(source, out, **env):
    clean = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", out, source]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=clean | env)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    return _built(_checkout(folder / "source", 1_600_000_000), folder / "dist")


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


def test_two_builds_are_the_same_bytes(sdist, tmp_path):
    other = _checkout(tmp_path / "elsewhere", 1_700_000_001)
    assert _built(other, tmp_path / "dist").read_bytes() == sdist.read_bytes()


def test_one_built_from_the_other_is_the_same_bytes(sdist, unpacked, tmp_path):
    shutil.copytree(unpacked, tmp_path / "source")
    assert _built(tmp_path / "source", tmp_path / "dist").read_bytes() == sdist.read_bytes()


def test_its_time_is_the_one_that_is_asked_for(sdist, unpacked, tmp_path):
    shutil.copytree(unpacked, tmp_path / "source")
    made = _built(tmp_path / "source", tmp_path / "dist", SOURCE_DATE_EPOCH="1234567890")
    with tarfile.open(made) as archive, tarfile.open(sdist) as usual:
        assert {member.mtime for member in archive} == {1234567890}
        assert len({member.mtime for member in usual}) == 1
        assert {(member.uid, member.gid, member.uname, member.gname) for member in archive} == {(0, 0, "", "")}
        assert {member.mode for member in archive} <= {0o644, 0o755}
    with gzip.open(made) as packed:
        packed.read(1)
        assert packed.mtime == 1234567890


def test_it_holds_what_is_kept_and_nothing_else(unpacked):
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    found = {name for name in found if not name.startswith("tse_onnx.egg-info/")} - {"PKG-INFO"}
    wanted = set()
    for name in KEPT:
        below = (ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name]
        wanted |= {str(path.relative_to(ROOT)) for path in below if path.is_file() and "__pycache__" not in path.parts}
    assert found == wanted
    assert all((unpacked / name).read_bytes() == (ROOT / name).read_bytes() for name in wanted)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository: a source distribution")
def test_what_is_kept_is_what_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.partition("/")[0] for name in tracked.splitlines()} <= set(KEPT)


def test_its_tests_are_collected(unpacked):
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(words, cwd=unpacked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
