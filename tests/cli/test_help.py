"""Help is a page with headings: every option and every command stands under one, and nothing is cut."""

import re

import click
import pytest
from click.testing import CliRunner

from tse_onnx.cli import main
from tse_onnx.cli.headings import COMMANDS, OPTIONS, OTHERS, heading_of
from tse_onnx.cli.help import long_name

NAMES = sorted(main.commands)


def shown(*words, columns=80):
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, [*words, "--help"], terminal_width=columns)
    assert done.exit_code == 0, done.output
    return done.output


def options(name):
    command = main.commands[name]
    listed = command.get_params(click.Context(command))
    return [option for option in listed if isinstance(option, click.Option)]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_heading(name):
    assert [long_name(option) for option in options(name) if heading_of(name, long_name(option)) == OTHERS] == []


def test_every_name_under_a_heading_is_that_of_an_option():
    there = {(name, long_name(option)) for name in NAMES for option in options(name)}
    there |= {("", long_name(option)) for option in main.get_params(click.Context(main))}
    listed = [name.split(":") for names in OPTIONS.values() for name in names.split()]
    strange = [
        name for name in listed if not any(name[-1] == option and name[0] in (option, on) for on, option in there)
    ]
    assert [":".join(name) for name in strange] == []


def test_no_option_stands_under_two_headings():
    listed = [name for names in OPTIONS.values() for name in names.split()]
    assert sorted(listed) == sorted(set(listed))


def test_every_command_has_a_heading_and_its_words_are_whole():
    assert sorted(name for told in COMMANDS.values() for name in told) == NAMES
    page = shown()
    for told in COMMANDS.values():
        for name, words in told.items():
            assert re.search(rf"^  {name} +{re.escape(words)}$", page, re.MULTILINE)
    assert "..." not in page.split("Look:")[1]


@pytest.mark.parametrize("name", NAMES)
def test_help_says_every_option_once_under_its_heading_in_80_columns(name):
    page = shown(name)
    assert max(map(len, page.splitlines())) <= 80
    sections = dict(re.findall(r"^(\S[^\n]*):\n((?:(?:  [^\n]*)?\n)+)", page, re.MULTILINE))
    for option in options(name):
        spelled = re.compile(rf"^  (?:-\w, )?--{long_name(option)}\b(?!-)", re.MULTILINE)
        under = [heading for heading, lines in sections.items() if spelled.search(lines)]
        assert under == [heading_of(name, long_name(option))], long_name(option)
