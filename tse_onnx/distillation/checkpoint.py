"""A training that was interrupted, in a file from which it goes on."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tse_onnx.distillation.result import Epoch
from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import quoted
from tse_onnx.passes.settings import setting

_SCHEMA = "tse-onnx/distillation/2"
_OLDER = "tse-onnx/distillation/1"
Tensors = dict[str, Tensor]


@dataclass
class Progress:
    """How far a training is: all that the next step depends on. Of the epoch that is not over yet so many `steps` are
    done, whose losses come to `total`."""

    state: Tensors
    optimiser: dict[str, Any]
    best_state: Tensors
    best: int
    start: float
    epochs: list[Epoch]
    steps: int = 0
    total: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)


class Checkpoint:
    """A file that holds the training of one `identity`: a digest of all that it depends on.

    Raises `UsageError` where the file cannot be used, or holds something else.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self._identity = path, identity

    def load(self) -> Progress | None:
        """How far it is; None where there is no file yet, or one of another training, which is started anew."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error.strerror or error) from error
        try:
            found = torch.load(io.BytesIO(data), weights_only=True)
        except Exception:  # whatever torch and pickle make of other bytes
            found = None
        if not isinstance(found, dict) or found.get("schema") not in (_SCHEMA, _OLDER):
            raise self._unusable("it is no checkpoint of a distillation, and is not overwritten")
        if found["schema"] == _OLDER or found["identity"] != self._identity:
            return None
        epochs = [Epoch(*entry) for entry in found["epochs"]]
        return Progress(
            found["state"], found["optimiser"], found["best_state"], found["best"], found["start"], epochs,
            found["steps"], found["total"], found["scaler"],
        )  # fmt: skip

    def save(self, progress: Progress) -> None:
        """Keep it: the file has all of it, or what it had before."""
        text = io.BytesIO()
        kept = {
            "schema": _SCHEMA, "identity": self._identity, "state": progress.state, "optimiser": progress.optimiser,
            "best_state": progress.best_state, "best": progress.best, "start": progress.start,
            "epochs": [(one.number, one.loss, one.stop_loss) for one in progress.epochs],
            "steps": progress.steps, "total": progress.total, "scaler": progress.scaler,
        }  # fmt: skip
        torch.save(kept, text)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            beside.write_bytes(text.getvalue())
            os.replace(beside, self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise self._unusable(error.strerror or error) from error

    def _unusable(self, why: object) -> UsageError:
        return UsageError(f"cannot keep the training in {quoted(str(self.path))}: {why}; see {setting('checkpoint')}")
