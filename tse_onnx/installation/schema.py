"""A check-up as JSON. docs/cli.md documents every field."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tse_onnx.installation.doctor import CheckUp, Package
from tse_onnx.version import VERSION

DOCTOR_SCHEMA = "tse-onnx/doctor/1"

Json = dict[str, Any]


def doctor_json(found: CheckUp) -> Json:
    """The object that `tse-onnx doctor --format json` prints."""
    return {
        "schema": DOCTOR_SCHEMA,
        "tse_onnx": VERSION,
        "python": found.python,
        "platform": found.platform,
        "ok": found.ok,
        "packages": [_package(package) for package in found.packages],
        "extras": [
            {
                "name": check.extra.name,
                "purpose": check.extra.purpose,
                "ok": check.ok,
                "install": check.extra.install,
                "packages": [_package(package) for package in check.packages],
            }
            for check in found.extras
        ],
    }


def _package(package: Package) -> Json:
    return asdict(package) | {"ok": package.ok}
