"""Arm's compiler for the Ethos-U, and what it says of a network."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# The machine and the aim of the schedule; the system and the memory are the ones Vela takes where none are named.
TARGET = (
    *("--accelerator-config", "ethos-u55-256"),
    *("--config", "Arm/vela.ini"),
    *("--system-config", "Ethos_U55_High_End_Embedded"),
    *("--memory-mode", "Shared_Sram"),
    *("--optimise", "Size"),
)


@dataclass(frozen=True)
class Compiled:
    """What the compiled network needs: SRAM and flash in KiB, estimated milliseconds, operators, millions of MACs."""

    sram: float
    flash: float
    milliseconds: float
    npu: int
    cpu: int
    mmac: float


def compile_network(network: Path, folder: Path) -> Compiled:
    """Compile a TFLite file for TARGET; `folder` is for what the compiler writes. A RuntimeError where it fails."""
    command = [sys.executable, "-m", "ethosu.vela", str(network), "--output-dir", str(folder), *TARGET]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"vela ended with {done.returncode} on {network.name}: {done.stdout[-500:]}{done.stderr[-500:]}"
        )
    (summary,) = folder.glob(f"{network.stem}_summary_*.csv")
    with summary.open(newline="") as file:
        (row,) = csv.DictReader(file)
    operators = {kind: int(count) for kind, count in re.findall(r"(CPU|NPU) operators = (\d+)", done.stdout)}
    return Compiled(
        sram=float(row["sram_memory_used"]),
        flash=float(row["off_chip_flash_memory_used"]),
        milliseconds=1000 * float(row["inference_time"]),
        npu=operators["NPU"],
        cpu=operators["CPU"],
        mmac=float(row["nn_macs"]) / 1e6,
    )
