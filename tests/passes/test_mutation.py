"""The runner of mutants tells a fault from none, and what the documentation says of survivors is still in the code."""

import subprocess
import sys

import pytest

from tests.mutation import EXPLAINED, ROOT, explained

FORM = "passes/forms/norms.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "changed", "outcome"), [("Keep(axis=place)", "Keep()", "killed"), ("", "", "survived")]
)
def test_a_mutant_is_killed_by_the_tests_and_no_mutant_survives_them(line, changed, outcome):
    source = (ROOT / FORM).read_text(encoding="utf-8")
    assert line in source
    # In a process of its own: the runner forks, and a fork of a process with threads may wait for ever.
    code = (
        "import sys; from tests.mutation import Mutant, survives; module, line, changed, source = sys.argv[1:]; "
        "print(survives(Mutant(module, '', 0, line, changed), source, ['test_lowerings']))"
    )
    command = [sys.executable, "-c", code, FORM, line, changed, source.replace(line, changed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.stdout.strip() == outcome, done.stderr


def test_every_survivor_that_is_explained_is_a_line_of_the_code():
    for module, line, changed in explained(EXPLAINED.read_text(encoding="utf-8")):
        source = " ".join(text.strip() for text in (ROOT / module).read_text(encoding="utf-8").splitlines())
        assert line in source, f"{module} has no longer: {line}"
        assert line != changed
