"""A runner release is listed from what GitHub says, asked over HTTP; and, when asked for, from the files themselves."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rollout.exits import Exit

ARCHIVES = {"x64": b"an archive for x64\n" * 40_000, "arm64": b"an archive for arm64\n" * 40_000}
DIGESTS = {arch: hashlib.sha256(data).hexdigest() for arch, data in ARCHIVES.items()}


class GitHub:
    """The releases of actions/runner and their files, on loopback."""

    def __init__(self):
        self.releases = []
        self.broken = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.partition("?")[0]
                if outer.broken:
                    self.send_error(404)
                    return
                if path == "/repos/actions/runner/releases":
                    data = json.dumps(outer.releases).encode()
                else:
                    assert "Authorization" not in self.headers, "a token went to where files are"
                    data = ARCHIVES[path.rpartition("/")[2]]
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format, *args):  # noqa: A002 - the server's own word
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def release(self, version, day, *, prerelease=False, digests=None, noted=None):
        """Publish a release with two archives."""
        noted = DIGESTS if noted is None else noted
        digests = DIGESTS if digests is None else digests
        self.releases.insert(
            0,
            {
                "tag_name": f"v{version}",
                "published_at": f"{day}T10:00:00Z",
                "prerelease": prerelease,
                "draft": False,
                "body": "".join(
                    f"<!-- BEGIN SHA linux-{arch} -->{digest}<!-- END SHA linux-{arch} -->\n"
                    for arch, digest in noted.items()
                ),
                "assets": [
                    {
                        "name": f"actions-runner-linux-{arch}-{version}.tar.gz",
                        "digest": f"sha256:{digests[arch]}" if arch in digests else None,
                        "size": len(ARCHIVES[arch]),
                        "browser_download_url": f"{self.url}/{arch}",
                    }
                    for arch in ARCHIVES
                ],
            },
        )


@pytest.fixture
def github(monkeypatch):
    emulated = GitHub()
    thread = threading.Thread(target=emulated.server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("ROLLOUT_GITHUB_URL", emulated.url)
    monkeypatch.setenv("GH_TOKEN", "a-token")
    yield emulated
    emulated.server.shutdown()
    emulated.server.server_close()
    thread.join()


pytestmark = pytest.mark.usefixtures("unrehearsed")
ADDED = [
    '+      "2.337.1":',
    "+        released: 2026-09-10",
    '+      "2.338.0":',
    "+        released: 2026-11-20",
    "+        sha256:",
    f"+          x64: {DIGESTS['x64']}",
    f"+          arm64: {DIGESTS['arm64']}",
]


def test_the_newest_release_is_listed_with_those_before_it(github, rollout, lines):
    github.release("2.337.1", "2026-09-10")
    github.release("2.338.0", "2026-11-20")
    github.release("2.339.0", "2026-11-24", prerelease=True)
    done = rollout("bump-runner")
    assert done.exit_code == Exit.DONE, done.output
    assert lines() == ADDED
    assert "scripts/rollout cut --runner 2.338.0" in done.stdout
    again = rollout("bump-runner")
    assert again.stdout.startswith("already so: 2.338.0 is listed")


@pytest.mark.usefixtures("project")
def test_a_version_can_be_cut_with_it_at_once(github, rollout, files):
    github.release("2.338.0", "2026-11-20")
    assert rollout("bump-runner", "--dry-run").exit_code == Exit.DONE
    assert "2.338.0" not in files()["Pulumi.yaml"]
    rollout("bump-runner")
    assert rollout("cut", "2026-11-30").exit_code == Exit.DONE
    assert '        runner: "2.338.0"' in files()["Pulumi.yaml"]


def test_a_pre_release_is_refused_by_name(github, rollout, lines):
    github.release("2.338.0", "2026-11-20")
    github.release("2.339.0", "2026-11-24", prerelease=True)
    done = rollout("bump-runner", "2.339.0")
    assert done.exit_code == Exit.REFUSED
    assert "pre-release" in done.stderr
    assert lines() == []


def test_digests_that_disagree_are_refused(github, rollout, lines):
    github.release("2.338.0", "2026-11-20", noted={**DIGESTS, "arm64": "0" * 64})
    done = rollout("bump-runner")
    assert done.exit_code == Exit.REFUSED
    assert "do not agree" in done.stderr
    assert lines() == []


def test_verify_downloads_the_files_and_goes_by_what_they_are(github, rollout, lines):
    github.release("2.338.0", "2026-11-20", digests={})
    assert rollout("bump-runner").exit_code == Exit.REFUSED, "the notes alone are one source"
    done = rollout("bump-runner", "--verify")
    assert done.exit_code == Exit.DONE, done.output
    assert f"+          arm64: {DIGESTS['arm64']}" in lines()


def test_verify_refuses_a_file_that_is_not_what_all_say(github, rollout, lines):
    wrong = {**DIGESTS, "x64": "0" * 64}
    github.release("2.338.0", "2026-11-20", digests=wrong, noted=wrong)
    done = rollout("bump-runner", "--verify")
    assert done.exit_code == Exit.REFUSED
    assert f"the file: {DIGESTS['x64']}" in done.stderr
    assert lines() == []


def test_a_file_that_comes_in_part_is_no_file(github, rollout, lines):
    github.release("2.338.0", "2026-11-20")
    github.releases[0]["assets"][0]["size"] += 1
    done = rollout("bump-runner", "--verify")
    assert done.exit_code == Exit.UNREACHABLE
    assert "bytes" in done.stderr
    assert lines() == []


def test_a_file_is_not_fetched_from_an_address_without_encryption(github, rollout):
    github.release("2.338.0", "2026-11-20")
    github.releases[0]["assets"][0]["browser_download_url"] = "http://example.org/x64"
    done = rollout("bump-runner", "--verify")
    assert done.exit_code == Exit.UNREACHABLE
    assert "not https" in done.stderr


def test_a_github_that_does_not_answer_concludes_nothing(github, rollout, lines):
    github.broken = True
    done = rollout("bump-runner")
    assert done.exit_code == Exit.UNREACHABLE
    assert "404" in done.stderr
    assert "Traceback" not in done.output
    assert lines() == []


def test_a_listed_day_stays_and_the_difference_is_said(github, rollout, lines):
    listed = {
        "x64": "70920811a4f8ad4328818682bca5c6469c1c942fab52448868071d0063816613",
        "arm64": "9b1dc70626422526e3c94767cf024896beb15da5342a3f4819bf2feac13e0393",
    }
    github.release("2.337.0", "2026-08-20", digests=listed, noted=listed)
    done = rollout("bump-runner")
    assert done.stdout.startswith("already so"), done.output
    assert "2.337.0 is listed as of 2026-08-17, GitHub says 2026-08-20" in done.stderr
    assert lines() == []
