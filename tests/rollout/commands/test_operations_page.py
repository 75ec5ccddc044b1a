"""The operators' page and the runbooks: every command is there, and every command line in them is one."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from rollout.cli import COMMANDS, main
from rollout.view.evidence import Thresholds
from tests.conftest import ROOT

PAGES = [ROOT / "docs/operations.md", *sorted((ROOT / "docs/runbooks").glob("*.md"))]
LINE = re.compile(r"scripts/rollout (?P<words>[^`\n|)]*)")


def lines(path):
    """The command lines in a page, without what is a shell's."""
    found = LINE.findall(path.read_text(encoding="utf-8"))
    return [re.split(r" \||;|,|:$", line)[0].strip() for line in found]


def test_every_command_is_on_the_page_with_an_example():
    named = {line.split()[0] for line in lines(PAGES[0]) if line}
    assert set(COMMANDS) - named <= {"release"}
    assert "`release INSTANCE --stack prod`" in PAGES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_command_line_is_one_that_the_command_takes(path):
    tried = 0
    for line in lines(path):
        name, *words = shlex.split(line)
        if name == "COMMAND":
            continue
        command = main.get_command(click.Context(main), name)
        assert command, line
        flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= flags, line
        if words:
            command.make_context(name, list(words), resilient_parsing=True)
        tried += 1
    assert tried


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_link_leads_to_a_page_that_is_there(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("http") or (path.parent / target).is_file(), target


def test_every_runbook_is_named_on_the_page():
    text = PAGES[0].read_text(encoding="utf-8")
    assert [path.name for path in PAGES[1:] if f"runbooks/{path.name}" not in text] == []


def test_the_pages_defaults_are_the_thresholds():
    text = PAGES[0].read_text(encoding="utf-8")
    for option, value in (
        ("--jobs`", Thresholds().jobs),
        ("--jobs-each`", Thresholds().jobs_each),
        ("--bake-hours`", Thresholds().bake_hours),
        ("--most-failures`", Thresholds().most_failures),
    ):
        row = next(row for row in text.splitlines() if row.startswith("|") and option in row)
        assert row.split("|")[2].strip() == f"{value:g}"
