"""--engine finds a CLI or says exactly why not, and never touches the project's files."""

from __future__ import annotations

import hashlib
import os

import pytest

CLI = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$RECORD/calls"
env | grep -E '^(PULUMI|GOOGLE)_' | sort >"$RECORD/environment"
for word in "$@"; do [[ $word == *.yaml ]] && cat "$word" >"$RECORD/config" && echo salt >>"$word"; done
echo "engine says hello"
exit "${CLI_EXIT:-0}"
"""


@pytest.fixture
def cli(tmp_path):
    """A stand-in for the Pulumi CLI, first on PATH, that writes into the config file as the real one does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pulumi").write_text(CLI)
    (folder / "pulumi").chmod(0o755)
    record = tmp_path / "record"
    record.mkdir()
    return record, {"PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(record)}


def hashes(project):
    files = sorted(path for path in project.rglob("*") if path.is_file() and ".build" not in path.parts)
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if "__pycache__" not in p.parts}


def test_the_cli_on_path_runs_after_the_rehearsal(preview, cli):
    record, environment = cli
    done = preview("testing", "--engine", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("This is a rehearsal") < done.stdout.index("engine says hello")
    calls = (record / "calls").read_text().splitlines()
    assert calls[0].startswith("stack init testing --non-interactive")
    assert calls[1].startswith("preview --non-interactive --stack testing --config-file ")


def test_the_projects_files_stay_as_they_are(preview, cli, project):
    record, environment = cli
    before = hashes(project)
    preview("testing", "--engine", **environment)
    assert hashes(project) == before
    assert (record / "config").read_text() == (project / "Pulumi.testing.yaml").read_text()


def test_a_backend_that_is_set_is_used_and_no_stack_is_made(preview, cli):
    record, environment = cli
    preview("testing", "--engine", PULUMI_BACKEND_URL="gs://state", **environment)
    assert "PULUMI_BACKEND_URL=gs://state" in (record / "environment").read_text()
    assert "stack init" not in (record / "calls").read_text()


def test_without_credentials_a_dummy_token_stands_in(preview, cli):
    record, environment = cli
    preview("testing", "--engine", "--no-credentials", **environment)
    said = (record / "environment").read_text()
    assert "GOOGLE_OAUTH_ACCESS_TOKEN=none" in said
    assert "PULUMI_GCP_SKIP_REGION_VALIDATION=true" in said


def test_the_engines_exit_code_is_ours(preview, cli):
    _, environment = cli
    assert preview("testing", "--engine", CLI_EXIT="7", **environment).returncode == 7


def test_json_stays_json_beside_an_engine(preview, cli):
    import json

    _, environment = cli
    done = preview("testing", "--engine", "--json", **environment)
    assert json.loads(done.stdout)["environment"] == "testing"
    assert "engine says hello" in done.stderr


def test_faults_stop_before_the_engine(preview, cli, edit):
    record, environment = cli
    edit("Pulumi.testing.yaml", "canary: null", 'canary: "2026-11-25"')
    assert preview("testing", "--engine", **environment).returncode == 2
    assert not (record / "calls").exists()


def test_offline_it_says_so_and_exits_3(preview):
    # A proxy that refuses stands for a network that is not there; nothing leaves the machine.
    refusing = "http://127.0.0.1:9"
    done = preview(
        "testing", "--engine", PATH="/usr/bin:/bin", HTTPS_PROXY=refusing, https_proxy=refusing, HTTP_PROXY=refusing
    )
    assert done.returncode == 3
    assert "no pulumi CLI on PATH" in done.stderr
    assert "offline" in done.stderr
    assert "Traceback" not in done.stderr
    assert "This is a rehearsal" in done.stdout, "what could be shown was shown"
