"""A check-up: which packages are there, whether they can be imported, and which extras are whole."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata

from tse_onnx.installation.extras import EXTRAS, Extra

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_BEFORE = re.compile(r"""python_version\s*<\s*["']([\d.]+)["']""")
_MODULES = {"pillow": "PIL", "olive-ai": "olive"}
"""The modules that are not called as their packages are."""
_SECONDS_TO_IMPORT = 60


@dataclass(frozen=True)
class Package:
    """A package that is needed in a version, and the one that is `installed`, None where it is not; `trouble` says why
    it cannot be used though it is."""

    name: str
    wanted: str
    installed: str | None
    trouble: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it can be used."""
        return self.installed is not None and self.trouble is None


@dataclass(frozen=True)
class ExtraCheck:
    """An extra with the packages that it consists of; none where the installation does not say which."""

    extra: Extra
    packages: tuple[Package, ...]

    @property
    def ok(self) -> bool:
        """Whether all of it can be used."""
        return bool(self.packages) and all(package.ok for package in self.packages)


@dataclass(frozen=True)
class CheckUp:
    """The Python, the packages that every command may need, and the extras."""

    python: str
    platform: str
    packages: tuple[Package, ...]
    extras: tuple[ExtraCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether what every command may need is there."""
        return bool(self.packages) and all(package.ok for package in self.packages)


def doctor() -> CheckUp:
    """Look at the installation, and import what it has, each package in a process of its own: one that is broken may
    take the process with it. Raises nothing."""
    always, extras = _requirements()
    wanted = dict.fromkeys([*always, *(one for needed in extras.values() for one in needed)])
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(wanted, pool.map(_package, wanted), strict=True))
    return CheckUp(
        platform.python_version(),
        platform.platform(),
        tuple(found[one] for one in always),
        tuple(ExtraCheck(extra, tuple(found[one] for one in extras.get(name, ()))) for name, extra in EXTRAS.items()),
    )


_Need = tuple[str, str]
"""A package's name, and the versions of it that will do."""


def _requirements() -> tuple[list[_Need], dict[str, list[_Need]]]:
    """What the installed package says that it needs: always, and by extra."""
    try:
        lines = metadata.requires("tse-onnx") or []
    except metadata.PackageNotFoundError:
        lines = []
    always: list[_Need] = []
    extras: dict[str, list[_Need]] = {}
    for line in lines:
        matched = _REQUIREMENT.match(line)
        if matched is None:
            continue
        need, marker = (matched[1], matched[2].strip()), matched[3] or ""
        before = _BEFORE.search(marker)
        if before is not None and sys.version_info[:2] >= _numbers(before[1]):
            continue
        extra = _EXTRA.search(marker)
        (always if extra is None else extras.setdefault(extra[1], [])).append(need)
    return always, extras


def _package(need: _Need) -> Package:
    name, wanted = need
    try:
        installed = metadata.version(name)
    except Exception:  # also what metadata raises of an installation that is half gone
        return Package(name, wanted, None)
    return Package(name, wanted, installed, _too_old(installed, wanted) or _import_trouble(name))


def _too_old(installed: str, wanted: str) -> str | None:
    least = re.search(r">=\s*([\d.]+)", wanted)
    if least is not None and _numbers(installed) < _numbers(least[1]):
        return f"{least[1]} or newer is needed"
    return None


def _import_trouble(name: str) -> str | None:
    """Why a package cannot be imported, None where it can."""
    module = _MODULES.get(name.lower(), name.lower().replace("-", "_"))
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_SECONDS_TO_IMPORT,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"its import ended with {type(error).__name__}"
    if done.returncode == 0:
        return None
    return _last(done.stderr.decode(errors="replace").splitlines()) or f"its import ended with {done.returncode}"


def _last(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at its end."""
    matched = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in matched[0].split(".")] if matched else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def missing(found: Iterable[ExtraCheck]) -> list[str]:
    """The names of the extras that are not whole."""
    return [check.extra.name for check in found if not check.ok]
