"""Nothing is imported that the work at hand does not need."""

import subprocess
import sys

import onnx

import models

HEAVY = ("onnx", "onnxruntime", "numpy", "rich")
NEEDED = {
    f"tse_onnx.{name}"
    for name in (
        "errors",
        "files",
        "files.outputs",
        "files.written",
        "passes",
        "passes.reasons",
        "passes.settings",
        "version",
    )
}


def test_importing_the_package_loads_no_heavy_library():
    code = f"import sys, tse_onnx, tse_onnx.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_the_commands_and_no_room_behind_them():
    code = (
        "import sys, click; known = set(sys.modules); from tse_onnx.cli import main; dict(main.commands); "
        "print(*sorted(set(sys.modules) - known - {name for name in sys.modules if name.startswith('tse_onnx.cli')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("tse_onnx.")} == NEEDED
    assert not loaded & {"json", "logging", "traceback", "tomllib"}


def test_a_command_is_loaded_without_the_others():
    code = (
        "import sys; from tse_onnx.cli import main; main.commands['tune']; "
        "print([name for name in main.commands if f'tse_onnx.cli.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tune']"


def test_a_profile_loads_nothing_that_finds_or_changes_blocks(tmp_path):
    onnx.save(models.load("digits_se"), tmp_path / "digits.onnx")
    code = "import sys, tse_onnx; tse_onnx.profile('digits.onnx'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    other = ("onnxruntime", "rich", "tse_onnx.passes.search", "tse_onnx.passes.edit", "tse_onnx.decision.analysis")
    assert not [name for name in done.stdout.split() if name.startswith(other)]


def test_a_conversion_without_verification_loads_no_runtime(tmp_path):
    onnx.save(models.load("digits_se"), tmp_path / "digits.onnx")
    code = (
        "import sys, tse_onnx; tse_onnx.convert('digits.onnx', 'tiled.onnx', verify=False); "
        "print([name for name in ('onnxruntime', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
