"""The picture of what blocks bear has a field for each choice of each block."""

import re

import numpy as np
import pytest

import models
from tests.command import refused
from tests.command import tse_onnx as run

WORDS = ("sensitivity", "digits.onnx", "--data", "digits.npy", "--no-cache", "--rows", "2,8", "--squeeze")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sensitivity")
    models.save("digits_se", made / "digits.onnx")
    np.save(made / "digits.npy", models.digits()[0][:16])
    return made


@pytest.mark.slow
def test_blocks_are_rows_and_choices_columns(folder):
    pytest.importorskip("matplotlib")
    done = run(*WORDS, "tile,running", "--plot", "heat.svg", "--csv", "found.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = (folder / "heat.svg").read_text()
    said = re.findall(r"<!-- (.*?) -->", text)  # what matplotlib draws as outlines, it says beside them
    lines = [line.split(",") for line in (folder / "found.csv").read_text().splitlines()[1:]]
    blocks = list(dict.fromkeys(line[0] for line in lines))
    assert [one for one in said if one in blocks] == blocks
    columns = [one for one in said if re.fullmatch(r"(tile|running) \d+", one)]
    assert columns == ["tile 2", "tile 8", "running 2", "running 8"]
    fields = [one for one in said if re.fullmatch(r"[0-9.]+(e.[0-9]+)?", one)]
    assert len(fields) == len([line for line in lines if line[2] != "global"]) == 14  # 8 rows are the whole of a map


def test_another_kind_of_picture_is_refused_before_any_work(folder):
    assert ".svg or a .png" in refused(run(*WORDS, "tile", "--plot", "heat.pdf", cwd=folder))
