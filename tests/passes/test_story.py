"""What a converted block remembers of its places: read as it was written, and refused where a part is no such part."""

from __future__ import annotations

import json

import onnx
import pytest

import models
import tse_onnx
from tse_onnx.passes.edit import record as records
from tse_onnx.passes.edit.memory import remembered
from tse_onnx.passes.edit.record import packed, told, unpacked
from tse_onnx.passes.edit.story import Story
from tse_onnx.passes.graph import index

DIGITS = models.load("digits_se")
CONVERTED = [
    tse_onnx.convert(DIGITS, tiling=choice, verify=False).model for choice in (tse_onnx.Previous(), tse_onnx.Tiling(7))
]
RECORDS = [record for model in CONVERTED for records in remembered(model).values() for record in records]
PARTS = json.loads(RECORDS[0].story.text())
MAY_BE_MISSING = {"added", "opset", "sizes", "spare"}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.block)
def test_a_story_is_read_as_it_was_written(record):
    assert record.replaced.doc_string == record.story.text()
    assert Story.of(json.loads(record.story.text())) == record.story
    assert record.story.nodes
    assert record.story.spatial == (2, 3)


@pytest.mark.parametrize("part", sorted(PARTS.keys() - {"format"}))
def test_a_part_that_is_missing_or_of_another_type_makes_no_story(part):
    for value in (None, True, -1, 1.5, [1.5], [-1], [[0, "made"]], [["w", [1], 1, "raw_data"]], {}, [["x"], [], [1]]):
        with pytest.raises(tse_onnx.ModelError, match="damaged"):
            _told(PARTS | {part: value})
    kept = {name: value for name, value in PARTS.items() if name != part}
    if part in MAY_BE_MISSING:
        assert _told(kept)
    else:
        with pytest.raises(tse_onnx.ModelError, match="damaged"):
            _told(kept)


def test_a_later_format_is_not_guessed_at():
    with pytest.raises(tse_onnx.ModelError, match="does not know"):
        _told(PARTS | {"format": PARTS["format"] + 1})


def _told(parts):
    replaced = onnx.GraphProto.FromString(RECORDS[0].replaced.SerializeToString())
    replaced.doc_string = json.dumps(parts)
    return told("block", '{"rows": 7}', packed(replaced.SerializeToString())).story


def test_what_unpacks_to_much_more_than_it_is_is_cut_off():
    bomb = packed(b"\0" * 2**24)
    assert len(unpacked(bomb)) == 2**20


def test_values_are_gathered_once_for_all_blocks_whose_nodes_forgot(monkeypatch):
    model = tse_onnx.convert(models.load("digits_se"), rows=3, verify=False).model
    for node in model.graph.node:
        del node.metadata_props[:]
    gathered = []
    for module in (records, index):
        monkeypatch.setattr(module, "names_of", lambda nodes, names=index.names_of: gathered.append(1) or names(nodes))
    ((_, found),) = records.recorded(model, remembered(model))
    assert len(found) == 4
    assert len(gathered) == 1
    assert sum(block.status == "tiled" for block in tse_onnx.find_blocks(model)) == 4
    assert len(gathered) == 2
