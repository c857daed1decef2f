"""What a shell offers at TAB where a word is no path: names of nodes, of targets and of machines.

Nobody reads an error there, so that whatever cannot be read offers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import click


def nodes(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of the blocks' nodes, or of all nodes, of the model that stands before."""
    try:
        import onnx

        model = onnx.load(str(ctx.params["model"]), load_external_data=False)
    except Exception:
        return []
    poolings = [node for node in model.graph.node if node.op_type in ("GlobalAveragePool", "ReduceMean", "AveragePool")]
    return _beginning(begun, (node.name or node.output[0] for node in poolings or model.graph.node))


def targets(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of the compilers and devices that are known."""
    from tse_onnx.targets.known import TARGETS

    return _beginning(begun, TARGETS)


def machines(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of the machines that are known."""
    from tse_onnx.streaming.network.machines import MACHINES

    return _beginning(begun, MACHINES)


def _beginning(begun: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(begun)]
