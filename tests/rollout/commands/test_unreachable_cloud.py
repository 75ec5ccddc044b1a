"""Where Google does not answer, nothing is concluded from that, and nothing is written."""

from __future__ import annotations

import socket

import pytest

from rollout.cloud import service
from rollout.exits import Exit

OLD, NEXT = "2026-11-22", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


@pytest.fixture
def nobody(monkeypatch):
    """Google's addresses are a port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        for name in ("COMPUTE", "STORAGE", "LOGGING", "GITHUB"):
            monkeypatch.setenv(f"ROLLOUT_{name}_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(service, "FIRST_PAUSE_SECONDS", 0.0)
        monkeypatch.setenv("ROLLOUT_GOOGLE_TOKEN", "a-token")
        monkeypatch.setenv("GH_TOKEN", "a-token")
        yield


@pytest.mark.usefixtures("trial", "nobody")
def test_promote_without_an_answer_is_no_promotion(rollout, files):
    before = files()
    done = rollout("promote", "--stack", "prod", "--yes")
    assert done.exit_code == Exit.UNREACHABLE, done.output
    assert "could not be found out; nothing was done" in done.stderr
    assert files() == before


@pytest.mark.usefixtures("versions", "nobody")
def test_a_version_is_not_retired_while_nobody_knows_whether_it_runs(rollout, files):
    before = files()
    done = rollout("retire-version", OLD, "--yes")
    assert done.exit_code == Exit.UNREACHABLE, done.output
    assert "is unknown" in done.stderr
    assert files() == before


@pytest.mark.usefixtures("trial", "nobody")
def test_force_promotes_without_an_answer_and_says_so_on_record(rollout):
    done = rollout("promote", "--stack", "prod", "--yes", "--force")
    assert done.exit_code == Exit.DONE, done.output
    assert "Rollout-Evidence: forced; unknown" in done.stdout
