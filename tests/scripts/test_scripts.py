"""The scripts keep their word: what they need, what they refuse, and how they end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir())

FAKE_PYTHON = """#!/usr/bin/env bash
# Stands in for python3 and for the one in .venv: makes the folders, records what is installed.
case "$*" in
  --version) echo "Python ${FAKE_VERSION:-3.11.9}" ;;
  *"-m venv"*)
    echo "venv" >>"$RECORD"
    mkdir -p .venv/bin && rm -f .venv/*.stamp && cp "$0" .venv/bin/python
    ;;
  *"pip install"*)
    echo "install ${*: -1}" >>"$RECORD"
    exit "${INSTALL_EXIT:-0}"
    ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    """The scripts and the lock files in a folder of their own, with a stand-in for Python."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, project / name)
    python = tmp_path / "python3"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return project


@pytest.fixture
def venv(folder, tmp_path):
    """Runs scripts/venv; returns its result and what it had installed so far."""
    record = tmp_path / "record"
    record.touch()

    def run(kind: str, **environment: str):
        environment = {**os.environ, "PYTHON": str(tmp_path / "python3"), "RECORD": str(record), **environment}
        done = subprocess.run(
            [folder / "scripts/venv", kind], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done, record.read_text().splitlines()

    return run


def test_a_missing_environment_is_made_from_the_lock(venv):
    done, record = venv("run")
    assert done.returncode == 0, done.stderr
    assert record == ["venv", "install requirements.txt"]


def test_a_fresh_environment_is_left_alone(venv):
    venv("run")
    _, record = venv("run")
    assert record == ["venv", "install requirements.txt"]


def test_tests_add_to_the_environment_that_a_preview_made(venv):
    venv("run")
    _, record = venv("dev")
    assert record == ["venv", "install requirements.txt", "install requirements-dev.txt"]


def test_a_preview_is_content_with_the_environment_that_tests_made(venv):
    venv("dev")
    _, record = venv("run")
    assert record == ["venv", "install requirements-dev.txt"]


def test_a_changed_lock_makes_the_environment_anew(venv, folder):
    venv("run")
    with (folder / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    _, record = venv("run")
    assert record == ["venv", "install requirements.txt"] * 2


def test_another_python_makes_the_environment_anew(venv):
    venv("run")
    _, record = venv("run", FAKE_VERSION="3.12.1")
    assert record.count("venv") == 2


def test_an_install_that_failed_is_tried_again(venv):
    done, _ = venv("run", INSTALL_EXIT="1")
    assert done.returncode == 1
    assert "pip could not install requirements.txt" in done.stderr
    assert "Traceback" not in done.stderr
    _, record = venv("run")
    assert record == ["venv", "install requirements.txt"] * 2


def test_an_old_python_is_refused_with_what_to_do(venv):
    done, record = venv("run", FAKE_VERSION="3.9.2")
    assert done.returncode == 1
    assert "Python 3.9.2 is too old; install Python 3.11 or newer, or set PYTHON" in done.stderr
    assert record == []


def test_something_that_is_no_python_is_refused(venv):
    done, _ = venv("run", PYTHON="/bin/echo")
    assert done.returncode == 1
    assert "install Python 3.11 or newer, or set PYTHON" in done.stderr


def test_an_unknown_area_is_answered_with_the_areas():
    done = subprocess.run([ROOT / "scripts/test", "nowhere"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "no area nowhere; the areas are:" in done.stderr
    assert {folder.name for folder in (ROOT / "tests").iterdir() if list(folder.rglob("test_*.py"))} <= set(
        done.stderr.split()
    )
    assert "fleet" in done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_in_its_head_what_it_is_for_and_is_strict(name):
    path = ROOT / "scripts" / name
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines[0] == "#!/usr/bin/env bash":
        assert lines[1].startswith("# ")
        assert "set -eEuo pipefail" in lines
    else:
        assert lines[0] == "#!/usr/bin/env python3"
        assert lines[1].startswith('"""')
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_direct_dependency_has_a_reason_and_a_pin_with_hashes(name):
    lock = (ROOT / f"{name}.txt").read_text(encoding="utf-8")
    for line in (ROOT / f"{name}.in").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", "-r")):
            continue
        requirement, _, reason = line.partition("#")
        assert reason.strip(), f"{line}: why?"
        package = re.split(r"[<>=!~ ]", requirement)[0].replace(".", "-")
        assert re.search(rf"^{re.escape(package)}==\S+ .*\\\n    --hash=sha256:", lock, re.MULTILINE), package


def test_both_locks_pin_the_same_versions():
    pins = [
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    ]
    assert pins[0].items() <= pins[1].items()


def test_no_lock_names_an_index():
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert "index-url" not in (ROOT / name).read_text(encoding="utf-8")


def test_ci_runs_the_readmes_test_command_and_nothing_else():
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec scripts/test"
    assert "scripts/test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_action_is_pinned_by_its_commit():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line), f"{path.name}: {line.strip()}"


DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_and_link_that_a_page_names_exists(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / target).exists(), f"link to {target}"
    for path in re.findall(
        r"`((?:scripts|fleet|components|functions|emulators|rehearsal|rollout|startup|tests|docs|benchmarks)/[\w./-]*)",
        text,
    ):
        if "*" not in path and not path.endswith("/bin"):
            assert (ROOT / path.rstrip(".")).exists(), f"path {path}"
