"""Where tokens come from, and what is said when there is none. The token endpoint is a real one, on loopback."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from emulators.identity import signing_key
from rollout.cloud import credentials
from rollout.cloud.credentials import GitHubCredentials
from rollout.cloud.errors import CloudError, CredentialsError
from rollout.cloud.google import Google

ACCOUNT = "operator@iree-oss.iam"


@pytest.fixture
def endpoint(site):
    """Hands out the stand-in's tokens; `answers` come first."""
    answers: list[tuple[int, dict[str, object]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            token = site.google.tokens.of(ACCOUNT, site.clock.now()).token
            status, value = answers.pop(0) if answers else (200, {"access_token": token, "expires_in": 3600})
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield SimpleNamespace(port=server.server_port, answers=answers)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def signed_in(endpoint, tmp_path, monkeypatch):
    """Credentials as gcloud leaves them for a service account."""
    info = {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key": signing_key("operator").private_pem,
        "private_key_id": "1",
        "token_uri": f"http://127.0.0.1:{endpoint.port}/token",
    }
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(info))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


def groups(environ, *, times=1):
    async def main():
        async with Google("iree-oss", environ=environ) as google:
            return [await google.groups.list() for _ in range(times)][-1]

    return asyncio.run(main())


@pytest.fixture
def unfixed(environ):
    """An environment without the stand-ins' own token."""
    return {name: value for name, value in environ.items() if name != "ROLLOUT_GOOGLE_TOKEN"}


@pytest.mark.usefixtures("signed_in")
def test_googles_own_credentials_are_found_and_used_for_all_requests(site, group, unfixed):
    assert [each.name for each in groups(unfixed, times=3)] == [group.name]
    tokens = {request.headers["Authorization"] for request in site.asked("compute.aggregated_groups")}
    assert tokens == {f"Bearer {site.google.tokens.of(ACCOUNT, site.clock.now()).token}"}


@pytest.mark.usefixtures("signed_in")
def test_a_token_that_is_refused_is_renewed_once(site, endpoint, group, unfixed):
    endpoint.answers.append((200, {"access_token": "worthless", "expires_in": 3600}))
    assert [each.name for each in groups(unfixed)] == [group.name]
    assert [request.status for request in site.asked("compute.aggregated_groups")] == [401, 200]


@pytest.mark.usefixtures("signed_in")
def test_two_tokens_that_are_refused_are_enough(site, endpoint, unfixed):
    endpoint.answers.extend([(200, {"access_token": "worthless", "expires_in": 3600})] * 2)
    with pytest.raises(CloudError) as caught:
        groups(unfixed)
    assert caught.value.error_class == "credentials"
    assert "does not accept the token; run: gcloud auth application-default login" in str(caught.value)
    assert [request.status for request in site.asked("compute.aggregated_groups")] == [401, 401]


@pytest.mark.usefixtures("signed_in")
def test_credentials_that_are_not_accepted_any_more_say_what_to_run(site, endpoint, unfixed):
    endpoint.answers.extend([(400, {"error": "invalid_grant", "error_description": "secret text"})] * 9)
    with pytest.raises(CredentialsError) as caught:
        groups(unfixed)
    assert "run: gcloud auth application-default login" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not site.requests


def test_no_credentials_say_what_to_run(site, tmp_path, unfixed, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(CredentialsError, match="there are no credentials on this machine; run: gcloud auth"):
        groups(unfixed)
    assert not site.requests


def test_a_token_endpoint_that_does_not_answer_is_no_fault_of_the_credentials(site, signed_in, unfixed):
    info = json.loads(signed_in.read_text())
    signed_in.write_text(json.dumps({**info, "token_uri": "http://127.0.0.1:1/token"}))
    with pytest.raises(CloudError) as caught:
        groups(unfixed)
    assert (caught.value.error_class, str(caught.value)) == ("unavailable", "Google: gave no answer (an access token)")
    assert not site.requests


def token_of(environ, url="https://api.github.com"):
    return asyncio.run(GitHubCredentials(environ, url).headers())["Authorization"].removeprefix("Bearer ")


def test_githubs_token_is_the_environments_first():
    assert token_of({"GITHUB_TOKEN": "b"}) == "b"
    assert token_of({"GITHUB_TOKEN": "b", "GH_TOKEN": "a"}) == "a"


@pytest.fixture
def gh(tmp_path, monkeypatch):
    """A gh of our own; alone on PATH, with its shell."""

    def write(script: str) -> None:
        path = tmp_path / "gh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return write


def test_githubs_token_is_ghs_where_the_environment_has_none(gh):
    gh('[ "$*" = "auth token --hostname github.com" ] && echo gho_1')
    assert token_of({}) == "gho_1"


def test_a_server_of_ones_own_has_a_token_of_its_own(gh):
    gh('[ "$*" = "auth token --hostname git.example.com" ] && echo gho_2')
    assert token_of({}, "https://git.example.com/api/v3") == "gho_2"


def test_a_gh_that_is_not_signed_in_says_what_to_run(gh):
    gh("exit 1")
    with pytest.raises(CredentialsError, match=r"run: gh auth login --hostname github\.com"):
        token_of({})


def test_a_gh_that_does_not_answer_is_ended(gh, monkeypatch, tmp_path):
    monkeypatch.setattr(credentials, "TOKEN_SECONDS", 0.2)
    gh(f"echo $$ > {tmp_path}/pid; exec /bin/sleep 600")
    with pytest.raises(CredentialsError, match="gh auth token does not answer; set GH_TOKEN"):
        token_of({})
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.usefixtures("gh")
def test_a_machine_without_gh_says_what_to_set():
    with pytest.raises(CredentialsError, match="set GH_TOKEN, or install gh"):
        token_of({})
