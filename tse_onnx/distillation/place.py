"""Where a training runs: on which device, how precisely, and in how many processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import first_line

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Place:
    """A device, and the type that products are computed in there: None for single precision. `rank` is the number of
    this process among `world` that train together, each on its part of every batch."""

    device: torch.device
    autocast: torch.dtype | None = None
    rank: int = 0
    world: int = 1

    def __str__(self) -> str:
        """As a report has it: `cpu`, or `cuda:0 in bfloat16, 2 processes`."""
        precise = "" if self.autocast is None else f" in {str(self.autocast).removeprefix('torch.')}"
        return f"{self.device}{precise}" + (f", {self.world} processes" if self.world > 1 else "")

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """What is computed in here has the precision of this place, and is made on its device."""
        with contextlib.ExitStack() as stack:
            if self.device.type != "cpu":
                stack.enter_context(self.device)
            if self.autocast is not None:
                stack.enter_context(torch.autocast(self.device.type, self.autocast))
            yield

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes of a value without gradient, the same in all of them."""
        if self.world == 1:
            return value
        summed = value.clone()
        torch.distributed.all_reduce(summed)
        return summed / self.world

    def average(self, state: Iterable[Tensor]) -> None:
        """Make the gradients of each process those of all of them."""
        if self.world == 1:
            return
        for one in state:
            if one.grad is not None:
                torch.distributed.all_reduce(one.grad)
                one.grad /= self.world


PROCESSOR = Place(torch.device("cpu"))
"""One process on the processor, in single precision."""

_LAUNCHED = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
"""What torch's launcher says in the environment, and what is so without it."""


@contextlib.contextmanager
def place_of(device: str = "auto", precision: str = "auto") -> Iterator[Place]:
    """The place by the names of a device and a precision; where torch's launcher has started several processes, as its
    environment says, they can talk in here.

    By itself it is a GPU where there is one, in half precision where that has it, and the processor in single precision
    otherwise. Raises `UsageError` for what there is not.
    """
    rank, world, local = (int(os.environ.get(name, usual)) for name, usual in _LAUNCHED)
    chosen = _device(device, local)
    if precision not in ("auto", *_PRECISIONS):
        raise UsageError(f"there is no precision {precision!r}; there is auto, {', '.join(_PRECISIONS)}")
    autocast = _automatic(chosen) if precision == "auto" else _PRECISIONS[precision]
    if autocast is torch.float16 and chosen.type == "cpu":
        raise UsageError("float16 is for a GPU, where its loss is scaled: take bfloat16 on a processor")
    if world == 1:
        yield Place(chosen, autocast)
        return
    started = not torch.distributed.is_initialized()
    if started:
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Place(chosen, autocast, rank, world)
    finally:
        if started:
            torch.distributed.destroy_process_group()


def _device(name: str, local: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
        if found.type == "cuda" and found.index is None:
            found = torch.device("cuda", local)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(f"torch cannot use the device {name!r}: {first_line(error)}") from error
    return found


def _automatic(device: torch.device) -> torch.dtype | None:
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
