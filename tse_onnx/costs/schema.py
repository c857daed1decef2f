"""Profiles as JSON and as CSV. docs/costs.md documents every field."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from tse_onnx.costs.cycles import Cost, Costed
from tse_onnx.costs.layer import Layer, Profile
from tse_onnx.version import VERSION

PROFILE_SCHEMA = "tse-onnx/profile/1"

Json = dict[str, Any]

_NESTED = ("nodes", "cycles_by_dataflow", "accesses")  # what has no place in a line


def profile_json(found: Costed, converted: Costed | None) -> Json:
    """The object that `tse-onnx profile --format json` prints."""
    array = None if found.cost is None else found.cost.array
    return {
        "schema": PROFILE_SCHEMA,
        "tse_onnx": VERSION,
        "convention": found.profile.convention.name,
        "array": None if array is None else {**asdict(array), "dataflows": list(array.dataflows)},
        **_network(found),
        "converted": None if converted is None else _network(converted),
    }


def cost_json(found: Cost) -> Json:
    """The layers that multiply, and the sums, as the object of a profile has them."""
    return {
        "tse_onnx": VERSION,
        "array": asdict(found.array) | {"dataflows": list(found.array.dataflows)},
        "layers": [_layer(each.layer, found) for each in found.layers.values()],
        "totals": {"cycles": found.cycles, "utilisation": found.utilisation, "energy": found.energy},
    }


def profile_csv(found: Profile, cost: Cost | None) -> str:
    """A line for each layer, dimensions with an x between them."""
    text = io.StringIO()
    rows = [{key: value for key, value in _layer(layer, cost).items() if key not in _NESTED} for layer in found.layers]
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _words(value) for key, value in row.items()})
    return text.getvalue()


def _words(value: object) -> object:
    return "x".join(map(str, value)) if isinstance(value, list) else value


def _network(costed: Costed) -> Json:
    found, cost = costed.profile, costed.cost
    totals: Json = asdict(found.totals)
    if cost is not None:
        totals |= {"cycles": cost.cycles, "utilisation": cost.utilisation, "energy": cost.energy}
    return {
        "model": found.model,
        "layers": [_layer(layer, cost) for layer in found.layers],
        "totals": totals,
        "without_rule": [{"operator": name, "nodes": count} for name, count in found.without_rule],
    }


def _layer(layer: Layer, cost: Cost | None) -> Json:
    found: Json = {
        "name": layer.name,
        "operator": layer.operator,
        "input": list(layer.input),
        "output": list(layer.output),
        "kernel": list(layer.kernel),
        "stride": list(layer.stride),
        "pads": list(layer.pads),
        "groups": layer.groups,
        "repeat": layer.repeat,
        "parameters": layer.parameters,
        "macs": layer.macs,
        "activation_bytes": layer.activation_bytes,
        "pass_bytes": layer.pass_bytes,
        "rows_held": layer.rows_held,
        "seconds": layer.seconds,
        "nodes": list(layer.nodes),
    }
    if cost is not None:
        on = cost.layers.get(layer.name)
        found |= {
            "cycles": 0 if on is None else on.cycles,
            "dataflow": None if on is None else on.dataflow,
            "utilisation": None if on is None else on.utilisation,
            "memory_bound": None if on is None else on.memory_bound,
            "cycles_by_dataflow": None if on is None else dict(on.by_dataflow),
            "accesses": None if on is None else asdict(on.accesses),
            "energy": None if on is None else on.energy,
        }
    return found
