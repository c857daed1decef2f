"""`tse-onnx doctor`: which extras are there, what they are for, how to install them."""

from __future__ import annotations

import click

from tse_onnx.cli.display import Display, display_options, quiet_option
from tse_onnx.cli.help import Command
from tse_onnx.errors import CheckFailed


@click.command(cls=Command)
@display_options(quiet_option)
def doctor(display: Display) -> None:
    """Say which packages and extras are installed, what they are for, and how to install what is missing.

    Each package is imported once, in a process of its own. Where one is missing or broken that every command may need,
    the exit code is 1; an extra that is missing is none.

    \b
    Examples:
      tse-onnx doctor
      tse-onnx doctor --format json | jq '.extras[] | select(.ok | not)'
    """
    from tse_onnx.installation.doctor import doctor as examined
    from tse_onnx.report.doctor import DoctorView

    found = examined()
    display.show(DoctorView(found))
    if not found.ok:
        names = " ".join(package.name for package in found.packages if not package.ok)
        raise CheckFailed(f"the installation is not whole: pip install --force-reinstall {names or 'tse-onnx'}")
