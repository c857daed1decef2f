"""Everything this package raises on purpose.

`TseError` is the base; its text is one line that says what is wrong and what to do next.
"""

from __future__ import annotations

from typing import Any


class TseError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(TseError):
    """An option or argument makes no sense: zero rows, a binding for an input that is not there."""


class ModelError(TseError):
    """The model cannot be read, written, or worked on as it is."""


class DataError(TseError):
    """The data given for verification do not fit the model's inputs, or cannot be read."""


class CheckFailed(TseError):
    """A check of the result failed; nothing was written.

    `verification` holds what was measured, or None where the check that failed is not a measurement; `report` what
    would have been reported, where a bound on its figures was missed, or None.
    Errors lie below everything else, so their types, `Verification` and `Report`, are not named here.
    """

    def __init__(self, message: str, verification: Any = None, report: Any = None) -> None:
        super().__init__(message)
        self.verification = verification
        self.report = report
