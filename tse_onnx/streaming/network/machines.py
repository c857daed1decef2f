"""What `--machine` may say: a preset's name, or a TOML file with the keys of `Machine` over a preset.

preset = "hls4ml"
bits = 8

[latencies]
"/head/conv" = 8
"""

from __future__ import annotations

import dataclasses
import os
from typing import Union

from tse_onnx.errors import UsageError
from tse_onnx.files.toml import did_you_mean, named_or_read, need_keys, parse_toml
from tse_onnx.passes.reasons import quoted
from tse_onnx.streaming.network.machine import PER_READER, PIXEL, ROW, SEPARATE, SHARED, Machine
from tse_onnx.streaming.network.network import Network

IDEAL = "ideal"
MACHINES = {
    IDEAL: Machine(),
    # A stream of pixels for each reader; its resize reads a row before it writes one.
    "hls4ml": Machine(PIXEL, PER_READER, resize=ROW),
    # The same, with FIFOs of the vendor's generator, which have powers of two. Its products take the activation behind
    # them in as thresholds; what joins streams is a layer of its own.
    "finn": Machine(PIXEL, PER_READER, power_of_two=True, fusion=True, joins=SEPARATE),
    # Groups of layers one after the other on one engine, their rows in one memory.
    "cascade": Machine(ROW, SHARED, replay=SHARED, fusion=True),
}
"""What `--machine` knows by name. docs/dataflow.md says what each stands for."""

_FIELDS = tuple(field.name for field in dataclasses.fields(Machine))

# What the library takes: a preset's name, a file, or the thing itself.
MachineLike = Union[str, "os.PathLike[str]", Machine]


def machine_of(value: MachineLike | None) -> Machine:
    """The machine that a preset's name or a file means; the ideal one, where nothing is said. Raises `UsageError` where
    there is none."""
    if value is None or isinstance(value, Machine):
        return value or MACHINES[IDEAL]
    return named_or_read(
        value, MACHINES, parse_machine, what="machine", wrong="a machine is {}, or a .toml file, not {}"
    )


def need_stages(machine: Machine, *networks: Network) -> None:
    """Raise `UsageError` where a machine says something of a node that none of the networks has a stage for."""
    said = {"latencies": machine.latencies, "rates": machine.rates}
    if not any(said.values()):
        return
    names = {stage.node.name for network in networks for stage in network.stages}
    for field, table in said.items():
        for name in table:
            if name not in names:
                hint = did_you_mean(name, names)
                raise UsageError(
                    f"{field}: no stage of the network is called {quoted(name)}" + (f"; {hint}" if hint else "")
                )


def words_of(machine: Machine) -> str:
    """A machine in a few words: the preset that it is, and what it has otherwise."""

    def differences(name: str) -> list[str]:
        fields = [field for field in _FIELDS if getattr(machine, field) != getattr(MACHINES[name], field)]
        return [f"{field} {_value(getattr(machine, field))}" for field in fields]

    nearest = min(MACHINES, key=lambda name: len(differences(name)))
    return ", ".join([f"machine {nearest}", *differences(nearest)])


def _value(value: object) -> str:
    return (
        {True: "yes", False: "no"}[value]
        if isinstance(value, bool)
        else "given"
        if isinstance(value, dict)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def parse_machine(text: str, title: str = "the machine") -> Machine:
    """The machine in the text of a TOML file, which messages call `title`. Raises `UsageError`."""
    stated = parse_toml(text, title)
    need_keys(stated, ("preset", *_FIELDS), title)
    base = stated.pop("preset", IDEAL)
    if not isinstance(base, str) or base not in MACHINES:
        raise UsageError(f"{title}: preset is {', '.join(MACHINES)}, not {base!r}")
    try:
        return dataclasses.replace(MACHINES[base], **stated)
    except UsageError as error:
        raise UsageError(f"{title}: {error}") from None
