"""Plan files: what is written is read again, what is edited by hand is understood or refused in one line."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tse_onnx
from tests.command import refused, validated
from tests.command import tse_onnx as command
from tests.graphs import network
from tse_onnx import Plan, Tiling
from tse_onnx.errors import UsageError

rows = st.one_of(st.integers(1, 300), st.just(10**30))
tilings = st.one_of(
    st.builds(Tiling, rows, st.none() | rows, balanced=st.booleans(), axis=st.integers(0, 2), step=st.integers(1, 9)),
    st.builds(Tiling, rows, st.none() | rows, divisors=st.booleans(), axis=st.integers(0, 2)),
    st.builds(Tiling, st.none(), rows, balanced=st.booleans(), axis=st.integers(0, 2)),
    st.builds(Tiling, rows, squeeze=st.sampled_from(["upper", "middle"]), axis=st.integers(0, 2)),
    st.integers(1, 99).flatmap(lambda k: st.builds(Tiling, st.just(k), squeeze=st.just("running"),
                                                   step=st.integers(1, k))),
)  # fmt: skip
choices = st.none() | tilings


@st.composite
def plans(draw):
    made = draw(st.dictionaries(st.text(), choices))
    notes = {name: note for name in made if (note := draw(st.text()))}
    return Plan(draw(choices), made, notes)


@pytest.mark.slow
@given(plans())
def test_every_plan_is_read_as_it_was_written(plan):
    text = plan.dumps()
    assert Plan.loads(text) == plan
    assert list(Plan.loads(text).choices) == list(plan.choices)
    assert all(line.isprintable() for line in text.split("\n"))


@given(st.text())
def test_any_text_is_a_plan_or_refused(text):
    for tried in (text, f'schema = "tse-onnx/plan/1"\n{text}', f'schema = "tse-onnx/plan/1"\n[blocks]\n{text}'):
        with contextlib.suppress(UsageError):  # anything else is a bug
            Plan.loads(tried)


SCHEMA = 'schema = "tse-onnx/plan/1"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no schema"),
        ('schema = "tse-onnx/plan/2"', "plan/2"),
        ("schema = 1", "schema 1"),
        (SCHEMA + "[blocks\n", "line 2"),
        (SCHEMA + "[blocks]\na = {rows = 1}\na = {rows = 2}", "line 4|overwrite"),
        (SCHEMA + "[block]", "'block'; did you mean blocks"),
        (SCHEMA + "blocks = 3", "blocks is 3"),
        (SCHEMA + "[blocks]\na = 7", "'a' is 7, not a table"),
        (SCHEMA + "[blocks]\na = {row = 7}", "'a': there is no key 'row'; did you mean rows"),
        (SCHEMA + '[blocks]\na = {rows = "7"}', "rows is '7', not a whole number"),
        (SCHEMA + "[blocks]\na = {rows = true}", "rows is true"),
        (SCHEMA + "[blocks]\na = {rows = 7, balanced = 1}", "balanced is 1, not true or false"),
        (SCHEMA + "[blocks]\na = {rows = 0}", "'a': a tile needs at least one row"),
        (SCHEMA + "[blocks]\na = {}", "rows or of columns"),
        (SCHEMA + '[blocks]\na = {squeeze = "runing", rows = 3}', "runing"),
        (SCHEMA + '[blocks]\na = {squeeze = "global", rows = 3}', "takes no rows"),
        (SCHEMA + "[blocks]\na = {rows = 7, note = 3}", "note is 3"),
        (SCHEMA + "default = 7", "default is 7"),
        (
            SCHEMA + 'default = {squeeze = "previous"}\n[first]\na = [0.5]',
            "first is for block 'a', which has no line in bl",
        ),
        (
            SCHEMA + "[gates]\nb = [0.5]\n[blocks]\na = {rows = 7}",
            "gates is for block 'b', which has no line in blocks",
        ),
        (SCHEMA + "a = " + "[" * 5000, "TOML|deep"),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    file, model = tmp_path / "edited.toml", tmp_path / "model.onnx"
    file.write_text(text, encoding="utf-8")
    model.write_bytes(network(28).SerializeToString())
    with pytest.raises(UsageError, match=said):
        Plan.load(file)
    line = refused(command("convert", model, tmp_path / "out.onnx", "--plan", file))
    assert "edited.toml" in line
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("data", [b"\xff\xfe", None])
def test_what_cannot_be_read(tmp_path, data):
    file = tmp_path / "edited.toml"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(UsageError, match=r"edited\.toml"):
        Plan.load(file)
    with pytest.raises(UsageError):
        Plan.load(tmp_path)


def test_a_byte_order_mark_and_dos_lines_do_no_harm(tmp_path):
    file = tmp_path / "edited.toml"
    file.write_bytes(b"\xef\xbb\xbf" + Plan(Tiling(3), {"a": None}).dumps().replace("\n", "\r\n").encode())
    assert Plan.load(file) == Plan(Tiling(3), {"a": None})


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network(28, 14, 7).SerializeToString())
    return path


def test_the_written_plan_lists_every_block_and_does_what_the_options_did(model, tmp_path):
    options = ("--rows", 7, "--rows", "14:3", "--exclude", "block0*")
    done = command("plan", model, *options)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert re.findall(r'^"(\w+)" =', text, re.M) == ["block0_squeeze", "block1_squeeze", "block2_squeeze"]
    assert '"block1_squeeze" = { rows = 3 }  # 8 × 14 × 12\n' in text
    assert '# "head_pool" is refused: ' in text
    assert command("plan", model, *options).stdout == done.stdout
    plan = tmp_path / "plan.toml"
    plan.write_text(text, encoding="utf-8")
    assert command("plan", model, "--plan", plan).stdout == done.stdout
    reports = [
        validated(command("report", model, *given, "--format", "json").stdout, "report")
        for given in (options, ("--plan", plan))
    ]
    assert reports[0] == reports[1]
    command("convert", model, tmp_path / "one.onnx", *options)
    command("convert", model, tmp_path / "two.onnx", "--plan", plan)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_a_plan_that_was_edited_is_followed(model, tmp_path):
    text = command("plan", model).stdout.decode()
    line = '"block0_squeeze" = { rows = 7 }'
    assert line in text
    plan = tmp_path / "plan.toml"
    plan.write_text(
        text.replace(line, '"block0_squeeze" = { squeeze = "global", note = "too slow" }'), encoding="utf-8"
    )
    report = validated(command("report", model, "--plan", plan, "--format", "json").stdout, "report")
    assert report["blocks"][0]["status"] == "unchanged"
    assert report["blocks"][0]["reason"] == "too slow"
    plan.write_text(text.replace("block0_squeeze", "block0_sqeeze"), encoding="utf-8")
    assert "did you mean 'block0_squeeze'?" in refused(command("convert", model, tmp_path / "o.onnx", "--plan", plan))


@pytest.mark.parametrize("option", [("--rows", 3), ("--cols", 3), ("--squeeze", "upper"), ("--balanced",)])
def test_a_plan_leaves_no_room_for_another_tiling(model, tmp_path, option):
    plan = tmp_path / "plan.toml"
    plan.write_text(Plan().dumps(), encoding="utf-8")
    assert "--plan" in refused(command("report", model, "--plan", plan, *option))


def test_names_of_every_kind_survive_the_file(tmp_path):
    name = 'a "b" \\ \x1b[31m\u202e 日本\n=#'
    source = network(28)
    source.graph.node[0].name = name
    for node in source.graph.node[1:]:
        node.name = ""
    model, plan = tmp_path / "m.onnx", tmp_path / "plan.toml"
    model.write_bytes(source.SerializeToString())
    done = command("plan", model, "--rows", 5)
    assert all(line.isprintable() for line in done.stdout.decode().split("\n"))
    plan.write_bytes(done.stdout)
    assert Plan.load(plan).choices == {name: Tiling(5)}
    assert tse_onnx.convert(model, plan=Plan.load(plan), verify=False).blocks[0].tiling == Tiling(5)


def test_a_plan_is_saved_and_loaded(tmp_path):
    plan = Plan(Tiling(3), {"a": None, "b": Tiling(5, squeeze="running")})
    plan.save(tmp_path / "plan.toml")
    assert (tmp_path / "plan.toml").read_text(encoding="utf-8") == plan.dumps()
    assert Plan.load(tmp_path / "plan.toml") == plan
    with pytest.raises(tse_onnx.ModelError, match="no/such"):
        plan.save(tmp_path / "no" / "such" / "plan.toml")
