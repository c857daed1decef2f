"""Options that say what a model is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tse_onnx.cli.groups import group
from tse_onnx.cli.options import preprocess_option

if TYPE_CHECKING:
    from tse_onnx.data.choice import Data

_LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take N samples, drawn at random.")
_OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path, exists=True),
        required=True,
        help="What to run the models on: a folder of images, an .npz (arrays by input name) or an .npy.",
    ),
    preprocess_option,
    click.option(
        "--labels",
        type=click.Path(path_type=Path, exists=True),
        metavar="FILE",
        help="The class of each sample: a .csv with lines of file,label, or for arrays an .npy of integers. A folder "
        "for each class, or an array called labels in the .npz, needs no file.",
    ),
    click.option(
        "--label-offset",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="Add N to every label: 1 for networks whose class 0 is a background.",
    ),
    click.option(
        "--skip-unreadable",
        is_flag=True,
        help="Leave out images that cannot be read, and say so. They are errors otherwise.",
    ),
    _LIMIT,
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Seed of whatever is drawn.",
    ),
)
_BATCH = click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples in one run.  [default: the model's batch, or 8]",
)


def _data(data: Path, **said: Any) -> Mapping[str, Data]:
    from tse_onnx.data.choice import Data

    return {"data": Data(data, **said)}


data_options = group((*_OPTIONS, _BATCH), _data)
"""Give a command the options of data to measure on; it receives them as a `Data`."""

training_data_options = group(_OPTIONS, _data)
"""The same for a command in which a batch is what is trained on at once."""

calibration_options = group(
    (
        *(option for option in (*_OPTIONS, _BATCH) if option is not _LIMIT),
        click.option(
            "--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N",
            help="Calibrate on N samples, drawn at random; all others judge the result.",
        ),
    ),
    _data,
)  # fmt: skip
"""The same for data of which a part is calibrated on."""
