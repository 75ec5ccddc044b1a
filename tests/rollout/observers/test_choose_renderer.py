"""Which renderer it is follows from the stream and the environment, and from nothing else."""

from __future__ import annotations

import io
import os
import pty
import termios

import pytest

from rollout.observers.choose import Choice, Form, choose, renderer
from rollout.observers.github_log import GithubLog
from rollout.observers.lines import Lines
from rollout.observers.masking import Masked, Secrets
from rollout.observers.table import LiveTable

XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("env", "is_terminal", "columns", "choice"),
    [
        (XTERM, True, 80, Choice(form=Form.TABLE, color=True)),
        (XTERM, True, None, Choice(form=Form.TABLE, color=True)),
        (XTERM | {"NO_COLOR": "1"}, True, 80, Choice(form=Form.TABLE)),
        (XTERM | {"NO_COLOR": ""}, True, 80, Choice(form=Form.TABLE, color=True)),
        (XTERM, False, None, Choice(form=Form.LINES)),
        (XTERM, True, 39, Choice(form=Form.LINES)),
        ({"TERM": "dumb"}, True, 80, Choice(form=Form.LINES)),
        ({}, True, 80, Choice(form=Form.LINES)),
        (XTERM | {"CI": "true"}, True, 80, Choice(form=Form.LINES)),
        (XTERM | {"CI": "false"}, True, 80, Choice(form=Form.TABLE, color=True)),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, False, None, Choice(form=Form.GITHUB)),
        (XTERM | {"GITHUB_ACTIONS": "true"}, True, 80, Choice(form=Form.GITHUB)),
        ({"GITHUB_ACTIONS": "false"}, False, None, Choice(form=Form.LINES)),
    ],
)
def test_the_choice(env, is_terminal, columns, choice):
    assert choose(env, is_terminal=is_terminal, columns=columns) == choice


def test_a_pipe_gets_lines_and_github_its_log(tmp_path):
    assert isinstance(renderer(io.StringIO(), XTERM), Lines)
    github = renderer(io.StringIO(), {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "s.md")})
    assert isinstance(github, GithubLog)
    assert github._summary == tmp_path / "s.md"


def test_secrets_are_masked_before_any_renderer_hears_them():
    assert isinstance(renderer(io.StringIO(), {}, secrets=Secrets(["hunter22"])), Masked)


@pytest.mark.parametrize(("columns", "kind"), [(80, LiveTable), (20, Lines), (0, LiveTable)])
def test_a_real_terminal_gets_the_table_where_there_is_room(columns, kind):
    main, sub = pty.openpty()
    termios.tcsetwinsize(sub, (24, columns))
    try:
        with os.fdopen(sub, "w") as stream:
            assert isinstance(renderer(stream, XTERM), kind)
    finally:
        os.close(main)
