"""Under which heading `--help` lists an option, and the command line a command: the headings in their order."""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Look": {
        "inspect": "which blocks there are, and why other poolings are none",
        "explain": "how each candidate was read, node by node",
        "report": "what they buffer, and what they would",
        "stream": "what every tensor holds while rows stream in",
        "profile": "parameters, multiply-accumulates and cycles, by layer",
    },
    "Convert": {
        "convert": "rewrite, verify, report",
        "plan": "choices block by block, to edit and give to --plan",
        "verify": "prove a converted model, also after other tools",
        "restore": "the way back, byte for byte",
        "quantise": "eight bits, biases corrected, and what that loses",
        "fold": "strides exchanged for space-to-depth, and back",
        "equalise": "scales of channels exchanged, before eight bits",
    },
    "Measure and choose": {
        "evaluate": "what a conversion costs, on your own data",
        "sensitivity": "what each block bears, on your own data",
        "noise": "what each layer loses in eight bits, alone",
        "tune": "a plan for a memory budget",
        "distil": "a plan's numbers, trained against the original",
        "finetune": "the weights, trained for the tiles that they get",
    },
    "Machines and jobs": {
        "check": "what of a model a compiler or a device does not take",
        "targets": "the compilers and devices whose limits are known",
        "diff": "what changed between two reports",
        "doctor": "which extras are there, and how to install them",
    },
}
"""The commands under their headings, each in the few words that fit behind its name."""

OPTIONS: Mapping[str, str] = {
    "What is asked for": "budget reduce max-loss tune:max-macs max-cycles exact loss figure by-stage correlation "
    "convention array energy time quantise",
    "Which blocks": "node kinds include exclude first min-height max-macs retile input-shape dynamic",
    "What is quantised": "calibration operators keep keep-loss correct",
    "What becomes of them": "plan rows cols patch tile squeeze unfold factor step balanced divisors axis cascade "
    "freeze still powers-of-two",
    "How it is written": "target upsample means alls",
    "Data": "data frames settle preprocess labels label-offset skip-unreadable limit batch seed held-out",
    "Search": "trials points",
    "Training": "epochs views steps distil:step finetune:batch rate lr patience train label-weight output-loss "
    "feature-weight vary stop checkpoint no-checkpoint",
    "Checks": "verify run certify tolerance time-limit max-rows expect max-drift evaluate:max-loss finetune:max-loss "
    "min-agreement max-kl min-sqnr max-buffer max-memory min-saved",
    "The machine that rows stream through": "dataflow machine grain storage replay fusion power-of-two bits "
    "back-to-back latency memory macs-per-cycle elements-per-cycle stream:axis",
    "This machine": "device precision threads workers scheduler sensitivity:memory tune:memory cache no-cache runs",
    "Output": "output model-output report csv html plot plot-limit plot-images top all export format quiet",
    "Defaults": "config no-config",
    "Help, and where something went wrong": "help version verbose debug",
}
"""The long names of the options under their headings; `command:name` is for that command alone, where the name means
something else there."""

OTHERS = "Other options"


def heading_of(command: str, option: str) -> str:
    """The heading of a command's option, both by their names: `OTHERS` where the table has none."""
    for name in (f"{command}:{option}", option):
        for heading, listed in OPTIONS.items():
            if name in listed.split():
                return heading
    return OTHERS
