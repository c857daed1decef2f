"""A short run of the fuzzer, the same in every run; `python -m tests.fuzz` goes on for as long as it is told to."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import __main__ as driver
from tests.fuzz.invariants import attempt, trial
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import some_model

INPUTS = 100


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_broken_models_are_converted_or_refused(tmp_path, part):
    for number in range(part, INPUTS, 4):
        attempt(trial(0, number), tmp_path / "root")


def test_an_input_is_the_same_in_every_run():
    assert trial(5, 17) == trial(5, 17)
    assert trial(5, 17) != trial(5, 18)


def test_mutants_are_other_models_and_mostly_still_models():
    made = [mutated(some_model(random.Random(number)), random.Random(number)) for number in range(30)]
    assert len(set(made)) == 30


@pytest.mark.slow
def test_what_breaks_in_a_child_is_a_find(monkeypatch, capfd):
    """A traceback, an exit and a hang are recorded with their numbers, and the run goes on behind them."""
    script = (
        "import sys, time, json\n"
        "start = int(sys.argv[sys.argv.index('--start') + 1])\n"
        "for n in range(start, 6):\n"
        "    print(json.dumps({'at': n}), flush=True)\n"
        "    if n == 1: sys.stdout.flush(); import os; os._exit(139)\n"
        "    if n == 3: time.sleep(60)\n"
        "    print(json.dumps({'done': n, 'word': 'find' if n == 4 else 'refused', 'why': 'x' if n == 4 else ''}), flush=True)\n"
    )
    real = driver.subprocess.Popen
    monkeypatch.setattr(
        driver.subprocess, "Popen", lambda command, **options: real([command[0], "-c", script, *command[3:]], **options)
    )
    monkeypatch.setattr(driver, "_STARTING", 0.0)
    monkeypatch.setattr(driver.sys, "argv", ["fuzz", "--count", "6", "--seconds", "1.5"])
    assert driver.main() == 1
    finds = [line for line in capfd.readouterr().out.splitlines() if line.startswith("find: ")]
    assert [f'"number": {number}' in line for number, line in zip((1, 3, 4), finds, strict=True)] == [True] * 3
