"""The harness itself: no test reaches beyond this machine, and none passes by being skipped or not looked at."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).parent.parent.parent


def test_no_test_can_open_a_connection_beyond_this_machine():
    # The refusal comes with a warning, which is an error here before the refusal itself is raised.
    with socket.socket() as client, pytest.raises((SocketConnectBlockedError, UserWarning), match=r"192\.0\.2\.1"):
        client.connect(("192.0.2.1", 80))


def test_warnings_are_errors_and_so_is_an_expected_failure_that_passes():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert "error" in options["filterwarnings"]
    assert options["xfail_strict"] is True


def test_no_test_is_switched_off():
    """A skip says its reason when it runs (`pytest.skip(reason)`, shown by -ra); a mark would hide it for ever."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            assert not re.search(r"mark\.(skip|xfail)\b", path.read_text(encoding="utf-8")), path


def test_no_assertion_hides_in_an_apply():
    """Nobody waits for it there, so it could not fail the test."""
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__):
            assert not re.search(r"\.apply\([^\n]*assert", path.read_text(encoding="utf-8")), path
