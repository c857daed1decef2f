"""Targets, and what is outside of them, as JSON. docs/targets.md documents every field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tse_onnx.passes.targets.target import Limit, Target
from tse_onnx.targets.check import TargetCheck
from tse_onnx.version import VERSION

CHECK_SCHEMA = "tse-onnx/check/1"
TARGETS_SCHEMA = "tse-onnx/targets/1"

Json = dict[str, Any]


def check_json(found: TargetCheck) -> Json:
    """The object that `tse-onnx check --format json` prints."""
    return {
        "schema": CHECK_SCHEMA,
        "tse_onnx": VERSION,
        "model": found.model,
        "target": found.target.name,
        "passed": found.passed,
        "violations": [
            {
                "node": one.node,
                "operator": one.operator,
                "scope": one.scope,
                "limit": str(one.limit),
                "found": one.found,
                "source": one.limit.source,
                "version": one.limit.version,
                "effect": one.limit.effect,
            }
            for one in found.violations
        ],
    }


def targets_json(targets: Iterable[Target]) -> Json:
    """The object that `tse-onnx targets --format json` prints."""
    return {
        "schema": TARGETS_SCHEMA,
        "tse_onnx": VERSION,
        "targets": [
            {
                "name": target.name,
                "title": target.title,
                "note": target.note,
                "limits": [_limit(limit) for limit in target.limits],
            }
            for target in targets
        ],
    }


def _limit(limit: Limit) -> Json:
    return {
        "operators": list(limit.operators),
        "limit": str(limit),
        "measure": limit.measure,
        "least": limit.least,
        "most": limit.most,
        "among": list(limit.among),
        "unless_global": limit.unless_global,
        "since": limit.since,
        "except_for": list(limit.except_for),
        "effect": limit.effect,
        "source": limit.source,
        "version": limit.version,
    }
