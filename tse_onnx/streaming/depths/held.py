"""What is held of a tensor, as a machine stores it."""

from __future__ import annotations

from dataclasses import dataclass

from tse_onnx.passes.graph.types import bits_of
from tse_onnx.streaming.network.machine import PIXEL, Machine
from tse_onnx.streaming.network.network import Network, Tensor


@dataclass(frozen=True)
class Held:
    """A depth: in `rows`, in `depth` (the same, or pixels where the machine stores pixels), elements and bytes."""

    rows: int
    depth: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class Sums:
    """Sums over all tensors: elements and bytes."""

    elements: int
    bytes: int


def held_of(tensor: Tensor, machine: Machine, depth: int) -> Held:
    """So many tokens of a tensor, as a machine stores them."""
    if machine.power_of_two:
        depth = 1 << (depth - 1).bit_length()
    elements = depth * token_elements(tensor, machine)
    rows = -(-depth // tensor.column_count) if machine.grain == PIXEL else depth
    return Held(rows, depth, elements, bytes_of(elements, tensor.stored, machine))


def token_elements(tensor: Tensor, machine: Machine) -> int:
    """Elements of one row or pixel."""
    return tensor.row_elements // (tensor.column_count if machine.grain == PIXEL else 1) or 1


def bytes_of(elements: int, dtype: int, machine: Machine) -> int:
    """Bytes of so many elements of an ONNX type on a machine, rounded up."""
    return -(-elements * (machine.bits or bits_of(dtype)) // 8)


def carried(network: Network, machine: Machine) -> list[Held]:
    """What waits from frame to frame, in every figure."""
    return [held_of(tensor, machine, 1) for tensor in network.carried]
