"""What a shell is offered at TAB."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

import models


def offered(folder, *words, shell="bash"):
    """The lines that a shell gets for a line of which the last word is not complete."""
    line = " ".join(("tse-onnx", *words))
    env = {"_TSE_ONNX_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    env |= {"COMP_CWORD": words[-1]} if shell == "fish" else {}
    run = "import sys; sys.argv[0] = 'tse-onnx'; from tse_onnx.cli import main; main(prog_name='tse-onnx')"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=folder, env=os.environ | env, capture_output=True, encoding="utf-8", check=True
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    models.save("digits_se", folder / "net.onnx")
    (folder / "broken.onnx").write_bytes(b"no model")
    return folder


def test_commands_and_options(folder):
    assert offered(folder, "con") == ["plain,convert"]
    assert "plain,--max-memory" in offered(folder, "convert", "net.onnx", "out.onnx", "--max")


def test_models_and_data_are_files(folder):
    assert offered(folder, "inspect", "ne") == ["file,ne"]
    assert offered(folder, "evaluate", "net.onnx", "--data", "im") == ["file,im"]


def test_names_of_targets_and_machines(folder):
    assert offered(folder, "check", "net.onnx", "--target", "asc") == ["plain,ascend"]
    assert offered(folder, "targets", "asc") == ["plain,ascend"]
    assert offered(folder, "stream", "net.onnx", "--machine", "cas") == ["plain,cascade"]
    assert offered(folder, "convert", "net.onnx", "o.onnx", "--target", "asc", shell="fish") == ["plain,ascend"]


def test_poolings_of_the_model_that_is_explained(folder):
    found = offered(folder, "explain", "net.onnx", "/10")
    assert found == ["plain,/10/GlobalAveragePool"]
    assert len(offered(folder, "explain", "net.onnx", "/")) == 5
    assert offered(folder, "explain", "broken.onnx", "/") == []
    assert offered(folder, "explain", "missing.onnx", "/") == []


def in_shell(shell, folder, script):
    """What a real shell prints, which finds the command."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    words = {"fish": ["fish", "--no-config", "-c"], "zsh": ["zsh", "-f", "-c"], "bash": ["bash", "--norc", "-c"]}[shell]
    done = subprocess.run(
        [*words, script], cwd=folder, env=os.environ | {"PATH": path, "HOME": str(folder)}, capture_output=True,
        encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_fish_completes_what_is_typed(folder):
    """As docs/cli.md says to set it up."""
    setup = "_TSE_ONNX_COMPLETE=fish_source tse-onnx | source; complete -C "
    assert "convert" in in_shell("fish", folder, f"{setup}'tse-onnx conv'")
    assert "/10/GlobalAveragePool" in in_shell("fish", folder, f"{setup}'tse-onnx explain net.onnx /10'")
    assert "hls4ml" in in_shell("fish", folder, f"{setup}'tse-onnx convert net.onnx o.onnx --target hl'")
    assert "net.onnx" in in_shell("fish", folder, f"{setup}'tse-onnx report ne'")


def test_zsh_knows_the_function(folder):
    setup = 'autoload -U compinit; compinit -u; eval "$(_TSE_ONNX_COMPLETE=zsh_source tse-onnx)"; '
    assert in_shell("zsh", folder, f"{setup} print ${{_comps[tse-onnx]}}") == ["_tse_onnx_completion"]


def test_bash_completes_by_its_function(folder):
    setup = 'eval "$(_TSE_ONNX_COMPLETE=bash_source tse-onnx)"; '
    call = "COMP_WORDS=(tse-onnx explain net.onnx /10); COMP_CWORD=3; _tse_onnx_completion tse-onnx /10 net.onnx"
    assert in_shell("bash", folder, f"{setup} {call}; echo ${{COMPREPLY[@]}}") == ["/10/GlobalAveragePool"]
