"""What became of a converted model, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tse_onnx.evaluation.verify import Proof
from tse_onnx.passes.reasons import printable
from tse_onnx.report.convert import print_verification
from tse_onnx.report.number import decibels, number
from tse_onnx.report.page import Table, judge, say
from tse_onnx.report.view import View
from tse_onnx.verification.result import listed

if TYPE_CHECKING:
    from tse_onnx.report.page import Page
    from tse_onnx.runtime.scores import Score


@dataclass(frozen=True)
class VerifyView(View):
    """A converted model beside a conversion that was verified."""

    proof: Proof

    def json(self) -> dict[str, Any]:
        from tse_onnx.evaluation.schema import proof_json

        return proof_json(self.proof)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json()["blocks"]
        return rows

    def brief(self, page: Page) -> None:
        judge(page, self.proof.passed, _verdict(self.proof))

    def print(self, page: Page) -> None:
        proof, count = self.proof, self.proof.report.buffering.totals.converted
        blocks = f"{count} block" + "s" * (count != 1)
        self.brief(page)
        say(page, f"{proof.original} converted anew, {blocks}:")
        if proof.report.verification is not None:
            print_verification(page, proof.report.verification)
        say(page, f"{proof.converted} beside that conversion ({proof.samples}):")
        rows: list[tuple[Sequence[str], str]] = [(_row("output", score.output, score), "") for score in proof.outputs]
        rows += [(_row("block", name, score), "") for name, score in proof.blocks]
        page.print(Table(("", "", "max", "SQNR"), rows, right=(2, 3)))
        if proof.hidden:
            say(page, f"Not compared at their own values, which have other names now: {listed(proof.hidden)}.")


def _row(kind: str, name: str, score: Score) -> Sequence[str]:
    return kind, printable(name), number(score.max_abs), decibels(score.sqnr_db)


def _verdict(proof: Proof) -> str:
    if not proof.passed:
        return f"{proof.converted} is not what a conversion of {proof.original} computes."
    if proof.identical:
        return f"{proof.converted} is that conversion, node by node."
    return f"{proof.converted} computes what that conversion does, to {proof.bound:g} dB or better."
