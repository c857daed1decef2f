"""setuptools' backend, whose source distributions are the same bytes wherever and whenever they are built.

What differs from one build to the next is set: the times, which are SOURCE_DATE_EPOCH or a fixed day; the order of the
files; their owner; their permissions, but for whether they can be run. setup.cfg is put in as it is, where setuptools
would write it anew without its comments.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable", "build_sdist", "build_wheel", "get_requires_for_build_editable", "get_requires_for_build_sdist",
    "get_requires_for_build_wheel", "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel",
]  # fmt: skip

_SOME_DAY = 1577836800  # the first of 2020: a zip file has no times before 1980


def build_sdist(sdist_directory: str, config_settings: Mapping[str, Any] | None = None) -> str:
    """Build the source distribution into a folder; its name there."""
    name: str = build_meta.build_sdist(sdist_directory, config_settings)
    _normalise(Path(sdist_directory) / name, int(os.environ.get("SOURCE_DATE_EPOCH", _SOME_DAY)))
    return name


def _normalise(path: Path, time: int) -> None:
    made = path.with_suffix(".normal")
    with (
        tarfile.open(path) as old,
        made.open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            if member.name.partition("/")[2] == "setup.cfg":
                content: IO[bytes] | None = io.BytesIO(Path("setup.cfg").read_bytes())
                member.size = Path("setup.cfg").stat().st_size
            else:
                content = old.extractfile(member) if member.isfile() else None
            new.addfile(_normal(member, time), content)
    made.replace(path)


def _normal(member: tarfile.TarInfo, time: int) -> tarfile.TarInfo:
    member.mtime, member.pax_headers = time, {}
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
