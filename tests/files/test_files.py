"""Files: the output appears whole or not at all, and weights in files of their own come along untouched."""

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper

import tse_onnx
import tse_onnx.conversion.convert
from tests.command import refused
from tests.command import tse_onnx as command
from tests.graphs import network, plain_model, se_model, some_input
from tests.running import peak, run
from tse_onnx.files import encode, source

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def folder(tmp_path):
    onnx.save(se_model(), tmp_path / "se.onnx")
    return tmp_path


def _tree(folder):
    """Every file below a folder with its bytes; links and folders as what they are."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink()
        else None if path.is_dir() else path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
    }  # fmt: skip


def _names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# One file


def test_in_place(folder):
    expected = tse_onnx.convert(folder / "se.onnx", rows=7).model.SerializeToString()
    assert command("convert", "se.onnx", "se.onnx", cwd=folder).returncode == 0
    assert _tree(folder) == {"se.onnx": expected}
    assert command("convert", "se.onnx", "se.onnx", cwd=folder).returncode == 0
    assert _tree(folder) == {"se.onnx": expected}, "a second conversion changes nothing"


def test_the_output_is_what_the_library_returns(folder):
    result = tse_onnx.convert(folder / "se.onnx", folder / "out.onnx")
    assert (folder / "out.onnx").read_bytes() == result.model.SerializeToString()
    assert result.path == folder / "out.onnx"


@pytest.mark.parametrize("target", ["there", "not there", "in another folder"])
def test_through_a_link_the_file_behind_it_is_written(folder, target):
    (folder / "sub").mkdir()
    real = folder / ("sub/real.onnx" if target == "in another folder" else "real.onnx")
    if target == "there":
        real.write_bytes(b"before")
    (folder / "out.onnx").symlink_to(real.relative_to(folder))
    assert command("convert", "se.onnx", "out.onnx", cwd=folder).returncode == 0
    assert (folder / "out.onnx").is_symlink()
    assert len(onnx.load(real).graph.node) > 8


def test_links_that_lead_nowhere(folder):
    (folder / "circle.onnx").symlink_to("circle.onnx")
    (folder / "nowhere.onnx").symlink_to("missing/out.onnx")
    before = _tree(folder)
    for name in ("circle.onnx", "nowhere.onnx"):
        refused(command("convert", "se.onnx", name, cwd=folder))
        refused(command("inspect", name, cwd=folder))
        assert _tree(folder) == before


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_of_the_file_that_is_replaced_are_kept(folder, mode):
    out = folder / "out.onnx"
    out.write_bytes(b"before")
    out.chmod(mode)
    assert command("convert", "se.onnx", "out.onnx", "--report", "r.json", cwd=folder).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == mode


@pytest.mark.skipif(not ROOT, reason="only root may give files away")
@pytest.mark.parametrize("name", ["out.onnx", "se.onnx"])
def test_the_owner_of_the_file_that_is_replaced_is_kept(folder, name):
    (folder / name).touch()
    os.chown(folder / name, 1234, 4321)
    (folder / name).chmod(0o640)
    assert command("convert", "se.onnx", name, cwd=folder).returncode == 0
    there = (folder / name).stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 4321, 0o640)


def test_a_new_file_has_the_permissions_of_any_new_file(folder):
    (folder / "plain").touch()
    assert command("convert", "se.onnx", "out.onnx", "--report", "r.json", cwd=folder).returncode == 0
    usual = stat.S_IMODE((folder / "plain").stat().st_mode)
    for name in ("out.onnx", "r.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == usual


FAILURES = ["before writing", "while writing", "at the rename", "at the report", "in the verification"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), MemoryError(), KeyboardInterrupt()],
    ids=["full disk", "memory", "interrupt"],
)
@pytest.mark.parametrize("moment", FAILURES)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "replaced"])
def test_a_failure_at_any_moment_leaves_everything_as_it_was(folder, monkeypatch, moment, error, existing):
    if existing:
        (folder / "out.onnx").write_bytes(b"before")
        (folder / "r.json").write_bytes(b"report before")
    before = _tree(folder)

    def fail(*arguments, **options):
        raise error

    if moment == "before writing":
        honest_open = os.open  # which removing a folder needs, too
        monkeypatch.setattr(
            os,
            "open",
            lambda path, flags, *rest, **more: (
                (fail() if flags & os.O_CREAT else None) or honest_open(path, flags, *rest, **more)
            ),
        )
    elif moment == "while writing":
        monkeypatch.setattr(os, "fsync", fail)
    elif moment == "at the rename":
        monkeypatch.setattr(Path, "replace", fail)
    elif moment == "at the report":
        honest, count = os.fsync, []
        monkeypatch.setattr(os, "fsync", lambda handle: (count.append(1), fail() if len(count) > 1 else honest(handle)))
    else:
        monkeypatch.setattr("tse_onnx.runtime.scores.Meter.add", fail)
    done = command("convert", "se.onnx", "out.onnx", "--report", "r.json", cwd=folder)
    assert done.returncode == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert _tree(folder) == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limits on this system")
@pytest.mark.parametrize("model", ["se.onnx", "external/model.onnx"])
def test_a_disk_that_is_really_full(folder, model):
    """The system itself stops the write after 1 KiB."""
    _external(folder / "external", se_model())
    (folder / "target").mkdir()
    (folder / "target" / "out.onnx").write_bytes(b"before")
    before = _tree(folder)
    done = command("convert", model, "target/out.onnx", "--no-verify", cwd=folder,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)))  # fmt: skip
    line = refused(done)
    assert "cannot write" in line
    assert _tree(folder) == before


@pytest.mark.parametrize(
    "bad", ["a directory", "missing folder", "a socket", "standard output", "a name too long", "a null character"]
)
def test_outputs_that_cannot_be(folder, monkeypatch, bad):
    (folder / "sub").mkdir()
    name = {"a directory": "sub", "missing folder": "no/out.onnx", "a socket": "socket", "standard output": "/dev/stdout",
            "a name too long": "n" * 300, "a null character": "a\0b"}[bad]  # fmt: skip
    if bad == "a socket":
        monkeypatch.chdir(folder)  # the path of a socket is short
        socket.socket(socket.AF_UNIX).bind(name)
    before = _tree(folder) if bad != "a socket" else None
    if bad == "a null character":
        with pytest.raises(tse_onnx.TseError):
            tse_onnx.convert(folder / "se.onnx", name)
        with pytest.raises(tse_onnx.TseError):
            tse_onnx.find_blocks(name)
    else:
        refused(command("convert", "se.onnx", name, cwd=folder))
        refused(command("convert", "se.onnx", "out.onnx", "--report", name, cwd=folder))
    assert before is None or _tree(folder) == before
    assert not (folder / "out.onnx").exists()


@pytest.mark.parametrize("end", ["/", "//", "/."])
@pytest.mark.parametrize("there", [False, True], ids=["missing", "there"])
def test_a_name_that_says_directory_is_not_made_a_file(folder, end, there):
    if there:
        (folder / "new").mkdir()
    before = _names(folder)
    name = f"new{end}"
    for words in (
        ["convert", "se.onnx", name], ["convert", "se.onnx", "out.onnx", "--report", name], ["restore", "se.onnx", name],
        ["report", "se.onnx", "--csv", name], ["stream", "se.onnx", "--no-run", "--csv", name],
        ["tune", "se.onnx", "--data", "se.onnx", "--reduce", "30%", "-o", name],
    ):  # fmt: skip
        line = refused(command(*words, cwd=folder))
        assert "name a file in it" in line
        assert there or "there is no directory new" in line
        assert _names(folder) == before
    for out in (f"{folder}/{name}", f"{folder}/se.onnx{end}"):
        for call in (tse_onnx.convert, tse_onnx.restore):
            with pytest.raises(tse_onnx.ModelError, match="name a file in it"):
                call(folder / "se.onnx", out)
    assert _names(folder) == before


@pytest.mark.parametrize("answer", ["EINVAL", "ENOTSUP", "ENOSYS", "EIO"])
@pytest.mark.parametrize("model", ["se.onnx", "external/model.onnx"])
def test_a_file_system_that_cannot_flush(folder, monkeypatch, model, answer):
    """It does what it can; a disk that fails is another thing."""
    _external(folder / "external", se_model())
    (folder / "target").mkdir()

    def fsync(handle):
        raise OSError(getattr(errno, answer), os.strerror(getattr(errno, answer)))

    monkeypatch.setattr(os, "fsync", fsync)
    done = command("convert", model, "target/out.onnx", "--report", "target/r.json", "--no-verify", cwd=folder)
    if answer == "EIO":
        assert "cannot write target/" in refused(done)
        assert not os.listdir(folder / "target")
    else:
        assert done.returncode == 0
        onnx.checker.check_model(str(folder / "target/out.onnx"))
        assert (folder / "target/r.json").exists()


def test_only_a_model_goes_to_standard_output(folder):
    for command_line in (["convert", "se.onnx", "out.onnx", "--report", "-"], ["report", "se.onnx", "--csv", "-"]):
        assert "standard output" in refused(command(*command_line, cwd=folder))
    assert _names(folder) == ["se.onnx"]


@pytest.mark.parametrize("model", ["se.onnx", "external/model.onnx"])
def test_streams_get_the_model_when_everything_has_passed(folder, model):
    """A pipe, as a shell's process substitution makes it, and the device that swallows everything."""
    _external(folder / "external", se_model())
    assert command("convert", model, "/dev/null", cwd=folder).returncode == 0
    assert Path("/dev/null").is_char_device()
    os.mkfifo(folder / "pipe")
    for options, code in (((), 0), (("--report", "missing/r.json"), 2), (("--max-drift", "1e-9"), 1)):
        reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        before = _names(folder)
        assert command("convert", model, "pipe", *options, cwd=folder).returncode == code
        with os.fdopen(reader, "rb") as file:
            written = file.read()
        expected = tse_onnx.convert(folder / model, rows=7).serialized()
        assert written == (b"" if code else expected)
        assert _names(folder) == before


def test_a_report_that_was_written_is_taken_back_where_the_model_cannot_be(folder):
    """The model goes to a pipe whose reader goes away before it can be filled."""
    model = network(28, 14)
    model.metadata_props.add(key="padding", value="x" * 200_000)
    onnx.save(model, folder / "se.onnx")
    os.mkfifo(folder / "pipe")
    for existing in (False, True):
        if existing:
            (folder / "r.json").write_bytes(b"before")
        before = _names(folder)
        reader = subprocess.Popen(["head", "-c", "1", "pipe"], cwd=folder, stdout=subprocess.DEVNULL)
        assert "pipe" in refused(command("convert", "se.onnx", "pipe", "--report", "r.json", cwd=folder))
        reader.wait()
        assert _names(folder) == before
        assert not existing or (folder / "r.json").read_bytes() == b"before"


def test_a_name_as_long_as_the_system_allows(folder):
    name = "n" * 250 + ".onnx"
    assert command("convert", "se.onnx", name, cwd=folder).returncode == 0
    assert sorted(_tree(folder)) == sorted(["se.onnx", name])


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_without_permission_to_write(folder):
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0o555)
    refused(command("convert", "se.onnx", "closed/out.onnx", cwd=folder))
    refused(command("convert", "se.onnx", "out.onnx", "--report", "closed/r.json", cwd=folder))
    assert sorted(_tree(folder)) == ["closed", "se.onnx"]


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_files_without_permission_to_read(folder):
    (folder / "se.onnx").chmod(0)
    refused(command("convert", "se.onnx", "out.onnx", cwd=folder))
    refused(command("inspect", "se.onnx", cwd=folder))


def test_a_report_that_cannot_be_written_leaves_no_model(folder):
    (folder / "r").mkdir()
    before = _tree(folder)
    refused(command("convert", "se.onnx", "out.onnx", "--report", "r", cwd=folder))
    assert _tree(folder) == before


def test_a_model_given_as_an_object_is_written(tmp_path):
    model = se_model()
    before = model.SerializeToString()
    tse_onnx.convert(model, tmp_path / "out.onnx")
    assert model.SerializeToString() == before
    np.testing.assert_array_equal(
        run(str(tmp_path / "out.onnx"), some_input(model)), run(tse_onnx.convert(model).model, some_input(model))
    )


# More than protobuf takes


def test_a_file_that_is_longer_than_protobuf_reads(folder):
    """A file of holes; it is refused by its length and not read."""
    with (folder / "huge.onnx").open("wb") as file:
        file.truncate(2**31)
    for command_line in (
        ["inspect", "huge.onnx"],
        ["convert", "huge.onnx", "out.onnx"],
        ["restore", "huge.onnx", "out.onnx"],
    ):
        line = refused(command(*command_line, cwd=folder))
        assert "2,147,483,648 bytes" in line
        assert "save_as_external_data" in line


def test_a_stream_that_is_longer_than_protobuf_reads(folder, monkeypatch):
    data = (folder / "se.onnx").read_bytes()
    for module in (source, encode):
        monkeypatch.setattr(module, "LONGEST", len(data) - 1)
    assert "save_as_external_data" in refused(command("inspect", "-", cwd=folder, stdin=data))


@pytest.mark.parametrize("out", ["out.onnx", "se.onnx", "-"])
def test_a_model_that_would_be_longer_than_protobuf_writes(folder, monkeypatch, out):
    """What the nodes of a tile add takes it over the limit."""
    before = _tree(folder)
    monkeypatch.setattr(encode, "LONGEST", len(before["se.onnx"]) + 10)
    line = refused(command("convert", "se.onnx", out, "--no-verify", cwd=folder))
    assert "save_as_external_data" in line
    assert _tree(folder) == before


@pytest.mark.parametrize("kind", ["changed", "gone"])
def test_a_model_that_is_written_anew_while_it_is_read(folder, monkeypatch, kind):
    """A model without blocks is written as it is: not as another process has just made it."""
    onnx.save(plain_model(), folder / "plain.onnx")

    def meanwhile(*arguments, **options):
        (folder / "plain.onnx").unlink()
        if kind == "changed":
            onnx.save(se_model(), folder / "plain.onnx")

    honest = tse_onnx.conversion.convert.measure
    monkeypatch.setattr(tse_onnx.conversion.convert, "measure", lambda made: (meanwhile(), honest(made))[1])
    refused(command("convert", "plain.onnx", "out.onnx", cwd=folder))
    assert not (folder / "out.onnx").exists()


# Weights in files of their own


def _external(folder, model, location="weights.bin"):
    """Save a model with every weight in a file of its own below `folder`; the model's path."""
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    model = onnx.ModelProto.FromString(model.SerializeToString())
    with (folder / location).open("wb") as file:
        for tensor in model.graph.initializer:
            data = tensor.raw_data
            file.write(b"\xee" * 7)
            external_data_helper.set_external_data(tensor, location, file.tell(), len(data))
            file.write(data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def _locations(path):
    model = onnx.load(path, load_external_data=False)
    return {external_data_helper.ExternalDataInfo(tensor).location for tensor in model.graph.initializer}


def _same_result(path, rows=7):
    model = se_model()
    x = some_input(model)
    np.testing.assert_array_equal(run(str(path), x), run(tse_onnx.convert(model, rows=rows).model, x))
    onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize("location", ["weights.bin", "sub/weights.bin", "a/b/c/weights.bin", "model.onnx.data"])
@pytest.mark.parametrize("where", ["same folder", "in place", "other folder", "link in another folder"])
def test_weights_are_carried_byte_for_byte(tmp_path, location, where):
    path = _external(tmp_path / "in", se_model(), location)
    weights = (tmp_path / "in" / location).read_bytes()
    (tmp_path / "out").mkdir()
    out = {"same folder": tmp_path / "in/out.onnx", "in place": path}.get(where, tmp_path / "out/out.onnx")
    given = out
    if where == "link in another folder":
        given = tmp_path / "link.onnx"
        given.symlink_to(out)
    assert command("convert", path, given).returncode == 0
    assert (out.parent / location).read_bytes() == weights == (tmp_path / "in" / location).read_bytes()
    assert _locations(out) == {location}
    _same_result(out)
    names = {name for name, content in _tree(tmp_path).items() if content is not None}
    expected = {"in/model.onnx", f"in/{location}", str(out.relative_to(tmp_path))} | {str(given.relative_to(tmp_path))}
    assert names == expected | {str((out.parent / location).relative_to(tmp_path))}
    assert not (out.parent / location).is_symlink()
    assert (out.parent / location).stat().st_nlink == 1


@pytest.mark.parametrize("taken", ["other content", "a folder", "a link", "identical"])
@pytest.mark.parametrize("verified", [True, False], ids=["verified", "not verified"])
def test_a_name_that_is_taken_in_the_outputs_folder(tmp_path, taken, verified):
    path = _external(tmp_path / "in", se_model(), "sub/weights.bin")
    weights = (tmp_path / "in/sub/weights.bin").read_bytes()
    target = tmp_path / "out/sub/weights.bin"
    target.parent.mkdir(parents=True)
    if taken == "other content":
        target.write_bytes(b"\0" * len(weights))
    elif taken == "a folder":
        target.mkdir()
    elif taken == "a link":
        target.symlink_to("elsewhere")
    else:
        target.write_bytes(weights)
    before = _tree(tmp_path)
    arguments = [] if verified else ["--no-verify"]
    assert command("convert", path, tmp_path / "out/out.onnx", *arguments).returncode == 0
    after = _tree(tmp_path)
    assert {name: after[name] for name in before} == before, "nothing that was there is touched"
    (location,) = _locations(tmp_path / "out/out.onnx")
    assert (location == "sub/weights.bin") == (taken == "identical")
    assert (tmp_path / "out" / location).read_bytes() == weights
    _same_result(tmp_path / "out/out.onnx")


def test_weights_never_take_the_models_own_name(tmp_path):
    path = _external(tmp_path / "in", se_model(), "out.onnx")
    weights = (tmp_path / "in/out.onnx").read_bytes()
    (tmp_path / "out").mkdir()
    assert command("convert", path, tmp_path / "out/out.onnx").returncode == 0
    (location,) = _locations(tmp_path / "out/out.onnx")
    assert (tmp_path / "out" / location).read_bytes() == weights
    _same_result(tmp_path / "out/out.onnx")
    before = _tree(tmp_path)
    assert "weights" in refused(command("convert", path, tmp_path / "in/out.onnx"))
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("report", ["in/weights.bin", "out/weights.bin"])
def test_a_report_never_takes_the_place_of_weights(tmp_path, report):
    path = _external(tmp_path / "in", se_model())
    (tmp_path / "out").mkdir()
    before = _tree(tmp_path)
    refused(command("convert", path, tmp_path / "out/out.onnx", "--report", tmp_path / report))
    assert _tree(tmp_path) == before


BAD_LOCATIONS = ["../secret.bin", "sub/../../secret.bin", "/etc/hostname", "link.bin", "linked/secret.bin",
                 "missing.bin", "sub", "", "."]  # fmt: skip


@pytest.mark.parametrize("location", BAD_LOCATIONS)
@pytest.mark.parametrize("verified", [True, False], ids=["verified", "not verified"])
def test_weights_outside_the_models_folder_are_not_followed(tmp_path, location, verified):
    path = _external(tmp_path / "in", se_model())
    weights = (tmp_path / "in/weights.bin").read_bytes()
    (tmp_path / "secret.bin").write_bytes(weights)
    (tmp_path / "in/sub").mkdir()
    (tmp_path / "in/link.bin").symlink_to("../secret.bin")
    (tmp_path / "in/linked").symlink_to("..")
    (tmp_path / "out").mkdir()
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    before = _tree(tmp_path)
    arguments = [] if verified else ["--no-verify"]
    for out in ("out/out.onnx", "in/out.onnx"):
        line = refused(command("convert", path, tmp_path / out, *arguments))
        assert "external data" in line
        assert _tree(tmp_path) == before
    with pytest.raises(tse_onnx.ModelError, match="external data"):
        tse_onnx.convert(path)


def test_a_failed_check_carries_nothing(tmp_path):
    path = _external(tmp_path / "in", se_model(), "a/b/weights.bin")
    (tmp_path / "out").mkdir()
    before = _tree(tmp_path)
    refused(command("convert", path, tmp_path / "out/out.onnx", "--max-drift", "1e-9"), 1)
    assert _tree(tmp_path) == before


def test_an_unchanged_model_with_weights_outside_keeps_its_bytes(tmp_path):
    path = _external(tmp_path / "in", plain_model())
    model = onnx.ModelProto.FromString(path.read_bytes())
    graph = onnx.ModelProto(graph=model.graph).SerializeToString()
    model.ClearField("graph")
    path.write_bytes(graph + model.SerializeToString())  # an order that no serialiser writes
    (tmp_path / "out").mkdir()
    for out in (tmp_path / "out/out.onnx", tmp_path / "in/out.onnx"):
        assert command("convert", path, out).returncode == 0
        assert out.read_bytes() == path.read_bytes()
    assert (tmp_path / "out/weights.bin").read_bytes() == (tmp_path / "in/weights.bin").read_bytes()


def test_a_stream_or_an_object_has_no_folder_for_its_weights(tmp_path, monkeypatch):
    path = _external(tmp_path / "in", se_model())
    monkeypatch.chdir(tmp_path / "in")  # where the weights would be found by accident
    line = refused(command("convert", "-", tmp_path / "out.onnx", stdin=path.read_bytes()))
    assert "weights" in line
    for options in ({}, {"out": tmp_path / "out.onnx"}):
        with pytest.raises(tse_onnx.ModelError, match="weights"):
            tse_onnx.convert(onnx.load(path, load_external_data=False), **options)
    assert sorted(_tree(tmp_path)) == ["in", "in/model.onnx", "in/weights.bin"]


def test_weights_of_constants_are_carried_too(tmp_path):
    path = _external(tmp_path / "in", se_model())
    model = onnx.load(path, load_external_data=False)
    moved = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    for node, tensor in zip(moved, model.graph.initializer, strict=True):
        node.attribute[0].t.CopyFrom(tensor)
    nodes = [*moved, *model.graph.node]
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    (tmp_path / "out").mkdir()
    assert command("convert", path, tmp_path / "out/out.onnx", "--no-verify").returncode == 0
    assert (tmp_path / "out/weights.bin").read_bytes() == (tmp_path / "in/weights.bin").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in other units elsewhere")
@pytest.mark.slow
def test_a_gigabyte_of_weights_is_not_loaded(tmp_path):
    """A sparse file: it costs no room, and reading it into memory would show."""
    path = _external(tmp_path, network(28, 14))
    small = peak("convert", path, tmp_path / "small.onnx", "--no-verify")
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer.add(name="huge", data_type=TensorProto.FLOAT, dims=[2**28])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.raw_data = b""
    external_data_helper.set_external_data(tensor, "huge.bin", 0, 2**30)
    tensor.ClearField("raw_data")
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(2**30)
    path.write_bytes(model.SerializeToString())
    for command_line in (["convert", path, tmp_path / "out.onnx", "--no-verify"], ["inspect", path], ["report", path]):
        assert peak(*command_line) < small + 50  # MiB
    assert sorted(_tree_names(tmp_path)) == ["huge.bin", "model.onnx", "out.onnx", "small.onnx", "weights.bin"]


def _tree_names(folder):
    return [path.name for path in folder.iterdir()]
