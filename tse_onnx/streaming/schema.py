"""The dataflow model and its certificate as JSON and CSV. docs/dataflow.md documents every field."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tse_onnx.streaming.depths.held import Held, Sums
from tse_onnx.streaming.depths.result import BOUND, FIGURES, Buffer, Dataflow, Spill
from tse_onnx.version import VERSION

if TYPE_CHECKING:
    from tse_onnx.streaming.execute.certificate import Certificate

STREAM_SCHEMA = "tse-onnx/stream/1"

Json = dict[str, Any]


def stream_json(dataflow: Dataflow, certificate: Certificate | None, axis: int = 0) -> Json:
    """The object that `tse-onnx stream --format json` prints."""
    return {
        "schema": STREAM_SCHEMA,
        "tse_onnx": VERSION,
        "model": dataflow.model,
        "axis": axis,
        "dataflow": dataflow_json(dataflow),
        "certificate": None if certificate is None else certificate_json(certificate),
    }


def dataflow_json(dataflow: Dataflow) -> Json:
    """What a network holds, per tensor and in total."""
    return {
        "height": dataflow.height,
        "machine": asdict(dataflow.machine),
        "totals": {figure: _sums(dataflow.totals[figure]) for figure in (*FIGURES, BOUND)},
        "kinds": {kind: {figure: _sums(sums[figure]) for figure in FIGURES} for kind, sums in dataflow.kinds.items()},
        "accumulators": _sums(dataflow.accumulators),
        "weights": _sums(dataflow.weights),
        "recomputed": [
            {
                "block": payoff.block,
                "held": payoff.held,
                "before": _sums(payoff.before),
                "after": _sums(payoff.after),
            }
            for payoff in dataflow.payoffs
        ],
        "fill": dict(dataflow.fill),
        "time": None if dataflow.time is None else asdict(dataflow.time),
        "spill": None if dataflow.spill is None else _spill(dataflow.spill),
        "unknown_operators": list(dataflow.unknown),
        "tensors": [_buffer(buffer) for buffer in dataflow.buffers],
        "stages": [
            {
                "stage": stage.label,
                "output": stage.output,
                "fill": stage.fill,
                "rate": round(stage.rate, 6),
                "accumulators": stage.accumulators,
                "barrier": stage.barrier or None,
                "macs": stage.macs,
                "cycles": stage.cycles,
            }
            for stage in dataflow.stages
        ],
    }


def certificate_json(certificate: Certificate) -> Json:
    """What the run proved."""
    return {
        "axis": certificate.axis,
        "passed": certificate.passed,
        "proofs": [
            {"name": proof.name, "passed": proof.passed, "decided": proof.decided, "text": proof.text}
            for proof in certificate.proofs
        ],
        "deadlocks": [
            {"tensor": each.tensor, "rows": each.rows, "waits": list(each.waits)} for each in certificate.deadlocks
        ],
        "error": certificate.error if math.isfinite(certificate.error) else None,
        "tolerance": certificate.tolerance,
        "differing": list(certificate.differing),
        "peak_bytes": certificate.peak_bytes,
        "bound_bytes": certificate.bound_bytes,
        "firings": certificate.firings,
        "seconds": round(certificate.seconds, 4),
        "reference_seconds": round(certificate.reference_seconds, 4),
    }


_COLUMNS = (
    "network", "tensor", "reader", "maker", "kind", "shape", "dtype", "height", "row_elements", "window",
    *(f"{figure}_{unit}" for figure in FIGURES for unit in ("rows", "depth", "elements", "bytes")), "why",
)  # fmt: skip


def stream_csv(**networks: Dataflow) -> str:
    """A line per tensor of each network, named as the keyword says (`before`, `after`, or one alone)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for name, dataflow in networks.items():
        for buffer in dataflow.buffers:
            figures = [getattr(buffer, figure) for figure in FIGURES]
            writer.writerow([
                name, buffer.tensor, buffer.reader or "", buffer.maker, buffer.kind, "x".join(map(str, buffer.shape)),
                buffer.dtype, buffer.height, buffer.row_elements, buffer.window,
                *(value for held in figures
                  for value in ((held.rows, held.depth, held.elements, held.bytes) if held else ("",) * 4)),
                buffer.why or "",
            ])  # fmt: skip
    return text.getvalue()


def _buffer(buffer: Buffer) -> Json:
    return {
        "tensor": buffer.tensor,
        "reader": buffer.reader,
        "maker": buffer.maker,
        "readers": list(buffer.readers),
        "shape": list(buffer.shape),
        "dtype": buffer.dtype,
        "height": buffer.height,
        "row_elements": buffer.row_elements,
        "window": buffer.window,
        "kind": buffer.kind,
        "gate": _held(buffer.gate),
        "asap": _held(buffer.asap),
        "min": _held(buffer.min),
        "no_stall": _held(buffer.no_stall),
        "why": buffer.why,
    }


def _spill(spill: Spill) -> Json:
    return {
        "memory": spill.memory,
        "needed": spill.needed,
        "held": spill.held,
        "fits": spill.fits,
        "written": spill.written,
        "read": spill.read,
        "tensors": [
            {
                "tensor": each.tensor,
                "reader": each.reader,
                "before": _held(each.before),
                "kept": _held(each.kept),
                "written": each.written,
                "read": each.read,
            }
            for each in spill.tensors
        ],
    }


def _held(held: Held | None) -> Json | None:
    if held is None:
        return None
    return {"rows": held.rows, "depth": held.depth, "elements": held.elements, "bytes": held.bytes}


def _sums(sums: Sums) -> Json:
    return {"elements": sums.elements, "bytes": sums.bytes}
