"""The way to the Actions service: the chain of tokens, how long they are kept, and when a request is tried again."""

from __future__ import annotations

import asyncio
import email.utils
import json

import jwt
import pytest
import scaleset
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from scaleset.connection import service_url
from scaleset.transport import Response, TransportError
from scaleset_service import SERVICE, STARTED_AT, Service, client, loop_time, play, refusal, reply

UNAVAILABLE = reply(503)
BROKEN = TransportError("ServerDisconnectedError", sent=True)
UNREACHED = TransportError("ClientConnectorError", sent=False)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key, form=serialization.PrivateFormat.PKCS8) -> str:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def app(private_key_pem: str) -> scaleset.AppCredentials:
    return scaleset.AppCredentials(app_id="12", installation_id="77", private_key_pem=private_key_pem)


async def one_call(service: Service, **options) -> scaleset.ScaleSet | None:
    return await client(service, **options).find(3, "fleet-a")


def slowly(response: Response):
    """The answer after a second, in which others ask."""

    async def answer(_):
        await asyncio.sleep(1)
        return response

    return answer


# The chain.


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_an_app_proves_itself_with_a_short_token_of_its_key(key, form):
    service = Service()
    play(one_call(service, credentials=app(pem(key, form))))
    assert service.calls == ["installation", "registration token", "registration", "find"]
    proof = service.requests[0].headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(proof, key.public_key(), ["RS256"], options={"verify_exp": False, "verify_iat": False})
    assert claims.pop("jti")
    assert claims == {"iss": "12", "iat": STARTED_AT - 60, "exp": STARTED_AT + 480}


def test_each_link_of_the_chain_carries_what_the_one_before_it_gave(key):
    service = Service()
    play(one_call(service, credentials=app(pem(key))))
    sent = [request.headers["Authorization"] for request in service.requests]
    assert sent[1:3] == ["Bearer ghs_x", "RemoteAuth REGTOK"]
    assert sent[3].startswith("Bearer eyJ")
    assert service.requests[2].body == b'{"url":"https://github.com/my-org","runner_event":"register"}\n'


def test_a_personal_token_needs_no_installation():
    service = Service()
    play(one_call(service))
    assert service.calls == ["registration token", "registration", "find"]
    assert service.requests[0].headers["Authorization"] == "Bearer ghp_x"


def test_two_tokens_of_one_second_are_not_the_same(key):
    credentials = app(pem(key))
    assert credentials.token(STARTED_AT) != credentials.token(STARTED_AT)


def test_what_is_no_rsa_key_is_said_before_anything_is_sent():
    for wrong in (
        "",
        "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----",
        pem(ec.generate_private_key(ec.SECP256R1())),
    ):
        service = Service()
        with pytest.raises(scaleset.CredentialsError, match="private_key_pem is no RSA private key"):
            play(one_call(service, credentials=app(wrong)))
        assert service.calls == []


def test_credentials_do_not_show_their_secret(key):
    assert "PRIVATE" not in repr(app(pem(key)))
    assert "ghp_x" not in repr(scaleset.PersonalToken(token="ghp_x"))


def test_an_app_cannot_serve_an_enterprise(key):
    with pytest.raises(ValueError, match="PersonalToken"):
        play(one_call(Service(), credentials=app(pem(key)), config_url="https://github.com/enterprises/big"))


def test_the_agent_says_who_calls_in_githubs_own_order():
    service = Service()

    async def script():
        await client(service, system="my-listener", version="1.0").get(8)

    play(script())
    assert (
        service.of("registration")[0]
        .headers["User-Agent"]
        .startswith(
            '{"system":"my-listener","version":"1.0","commit_sha":"","scale_set_id":0,"subsystem":"listener","build_version":"'
        )
    )
    agent = json.loads(service.of("get")[0].headers["User-Agent"])
    assert (agent["scale_set_id"], agent["kind"]) == (8, "scaleset")


# How long a token is kept.


def test_a_token_serves_all_calls_until_a_minute_before_its_end():
    service = Service(token_seconds=3600)

    async def script():
        github = client(service)
        await github.find(3, "a")
        await asyncio.sleep(3539)
        await github.find(3, "b")
        assert service.count("registration") == 1
        await asyncio.sleep(2)
        await github.find(3, "c")
        assert service.count("registration") == 2

    play(script())


def test_many_at_once_fetch_one_token():
    service = Service()

    async def script():
        github = client(service)
        await asyncio.gather(*(github.find(3, f"pool-{number}") for number in range(100)))

    play(script())
    assert (service.count("registration"), service.count("find")) == (1, 100)


def test_whoever_waited_while_it_failed_fails_with_it():
    service = Service()
    service.script("registration token", *[slowly(reply(401))] * 3)

    async def script():
        github = client(service)
        results = await asyncio.gather(*(github.find(3, "a") for _ in range(100)), return_exceptions=True)
        assert {type(result) for result in results} == {scaleset.UnauthorizedError}
        assert service.count("registration token") == 1
        with pytest.raises(scaleset.UnauthorizedError):
            await github.find(3, "a")
        assert service.count("registration token") == 2

    play(script())


def test_a_token_that_dies_early_is_replaced_once():
    service = Service()
    service.script("find", refusal(401, "InvalidTokenException"))
    play(one_call(service))
    assert service.calls == ["registration token", "registration", "find", "registration token", "registration", "find"]
    first, second = service.of("find")
    assert first.headers["Authorization"] != second.headers["Authorization"]


def test_a_second_token_that_is_refused_is_the_end_of_it():
    service = Service()
    service.script("find", *[refusal(401, "InvalidTokenException")] * 3)
    with pytest.raises(scaleset.UnauthorizedError):
        play(one_call(service))
    assert service.count("find") == 2


def test_of_many_that_are_refused_at_once_one_fetches_the_new_token():
    service = Service()
    service.script("find", *[slowly(refusal(401, "InvalidTokenException"))] * 50)

    async def script():
        github = client(service)
        await asyncio.gather(*(github.find(3, "a") for _ in range(50)))

    play(script())
    assert service.count("registration") == 2


@pytest.mark.parametrize(
    "answer",
    [
        {"url": SERVICE, "token": "opaque"},
        {"url": SERVICE, "token": "a.b.c"},
        {"url": SERVICE, "token": "e30.e30.x"},
        {"url": SERVICE},
        {"token": "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9."},
        {"url": "", "token": "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9."},
        {"url": "http://broker.example/rest", "token": "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9."},
        [],
    ],
)
def test_a_registration_without_what_belongs_to_it_is_no_success(answer):
    service = Service()
    service.script("registration", reply(200, answer))
    with pytest.raises(scaleset.UnreadableAnswerError, match="registering"):
        play(one_call(service))


@pytest.mark.parametrize("value", [{"expires_at": "2099-01-01T00:00:00Z"}, {"token": ""}, {"token": "a\r\nb"}, []])
def test_no_registration_token_is_no_success(value):
    service = Service()
    service.script("registration token", reply(201, value))
    with pytest.raises(scaleset.UnreadableAnswerError, match="no token"):
        play(one_call(service))


@pytest.mark.parametrize("status", [401, 403])
def test_a_fresh_registration_token_is_not_known_everywhere_at_once(status):
    service = Service()
    service.script("registration", *[reply(status)] * 4)
    play(one_call(service))
    assert [round(request.at) for request in service.of("registration")] == [0, 1, 3, 7, 15]


def test_a_registration_that_stays_forbidden_says_so():
    service = Service()
    service.script("registration", *[reply(403)] * 5)
    with pytest.raises(scaleset.ForbiddenError):
        play(one_call(service))


def test_a_limit_of_the_whole_installation_is_not_mistaken_for_it():
    service = Service()
    limit = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(STARTED_AT) + 1200)}
    service.script("registration", reply(403, headers=limit))
    with pytest.raises(scaleset.RateLimitedError) as caught:
        play(one_call(service))
    assert caught.value.retry_after_seconds == 1200
    assert service.count("registration") == 1


# Trying again.


@pytest.mark.parametrize("failure", [UNAVAILABLE, reply(500), reply(429), BROKEN, UNREACHED])
def test_what_may_pass_is_tried_again_four_times(failure):
    service = Service()
    service.script("find", *[failure] * 4)
    play(one_call(service))
    assert [round(request.at) for request in service.of("find")] == [0, 1, 3, 7, 15]


@pytest.mark.parametrize("status", [400, 404, 409, 501])
def test_what_will_not_pass_is_not(status):
    service = Service()
    service.script("find", reply(status))
    with pytest.raises(scaleset.ScaleSetError) as caught:
        play(one_call(service))
    assert caught.value.status == status
    assert service.count("find") == 1


@pytest.mark.parametrize(
    ("failures", "sent"),
    [
        ([UNREACHED] * 5, False),
        ([BROKEN, *[UNREACHED] * 4], True),
        ([*[UNREACHED] * 4, UNAVAILABLE], True),
        ([UNAVAILABLE, *[UNREACHED] * 4], True),
    ],
)
def test_used_up_tries_say_whether_any_may_have_arrived(failures, sent):
    service = Service()
    service.script("find", *failures)
    with pytest.raises(scaleset.UnavailableError) as caught:
        play(one_call(service))
    assert caught.value.sent is sent


def test_a_failing_service_fails_whatever_it_names():
    service = Service()
    service.script("find", *[refusal(500, "RunnerScaleSetNotFoundException")] * 5)
    with pytest.raises(scaleset.UnavailableError):
        play(one_call(service))


def test_a_certificate_that_does_not_fit_will_not_fit_later():
    service = Service()
    service.script("find", TransportError("ClientConnectorCertificateError", sent=False, passing=False))
    with pytest.raises(scaleset.UnavailableError):
        play(one_call(service))
    assert service.count("find") == 1


def test_a_variable_makes_any_host_an_enterprise_server(monkeypatch):
    """As for GitHub's own client, whatever its value."""
    monkeypatch.setenv("GITHUB_ACTIONS_FORCE_GHES", "")
    service = Service()
    play(one_call(service))
    assert service.of("registration")[0].url == "https://github.com/api/v3/actions/runner-registration"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("said", ["20", email.utils.formatdate(STARTED_AT + 20, usegmt=True)], ids=["seconds", "date"])
def test_what_the_service_asks_to_wait_is_waited(status, said):
    service = Service()
    service.script("find", reply(status, headers={"Retry-After": said}))
    play(one_call(service))
    waited = service.of("find")[1].at
    assert 20 <= waited <= 25


@pytest.mark.parametrize("said", ["soon", "-5", "1e3", "²", "9" * 5000])
def test_what_makes_no_sense_is_not_waited(said):
    service = Service()
    service.script("find", reply(503, headers={"Retry-After": said}))
    play(one_call(service))
    assert service.of("find")[1].at == 1


def test_a_limit_that_is_over_is_not_waited():
    service = Service()
    limit = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(STARTED_AT) - 5)}
    service.script("find", reply(429, headers=limit))
    play(one_call(service))
    assert service.of("find")[1].at == 0


def test_a_wait_longer_than_half_a_minute_is_the_callers_to_decide():
    service = Service()
    service.script("find", reply(429, headers={"retry-after": "3600"}))

    async def script():
        with pytest.raises(scaleset.RateLimitedError) as caught:
            await client(service).find(3, "fleet-a")
        assert caught.value.retry_after_seconds == 3600
        assert loop_time() == 0

    play(script())


def test_a_try_that_hangs_ends_after_a_minute():
    service = Service()

    async def hang(_):
        await asyncio.sleep(10_000)
        return reply(204)

    service.script("find", hang)
    play(one_call(service))
    assert service.of("find")[1].at == pytest.approx(61)


def test_pauses_vary_by_a_quarter():
    for chance, first, third in ((0.0, 0.75, 3.0), (0.999, 1.25, 5.0)):
        rules = scaleset.Retry(chance=lambda chance=chance: chance)
        assert rules.pause_seconds(0) == pytest.approx(first, rel=0.01)
        assert rules.pause_seconds(2) == pytest.approx(third, rel=0.01)
    assert scaleset.Retry(chance=lambda: 0.5).pause_seconds(10_000) == 30


# What goes over the wire, and what is said of it.


@pytest.mark.parametrize(
    ("url", "path", "query", "whole"),
    [
        (SERVICE, "a/b", {}, f"{SERVICE}/a/b?api-version=6.0-preview"),
        (f"{SERVICE}/", "a/", {"z": "1", "a": "2"}, f"{SERVICE}/a/?a=2&api-version=6.0-preview&z=1"),
        ("https://x/t?own=1", "a", {}, "https://x/t/a?api-version=6.0-preview&own=1"),
        ("https://x/t?api-version=9", "a", {}, "https://x/t/a?api-version=9"),
        (
            "https://x",
            "a",
            {"name": "a b&c#d%e+f/ü"},
            "https://x/a?api-version=6.0-preview&name=a%20b%26c%23d%25e%2Bf%2F%C3%BC",
        ),
    ],
)
def test_a_url_keeps_what_it_had_and_sorts_and_encodes_its_query(url, path, query, whole):
    assert service_url(url, path, query) == whole


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(404, "AgentExistsException"), scaleset.RunnerExistsError),
        (refusal(400, "AgentNotFoundException"), scaleset.NotFoundError),
        (refusal(400, "JobStillRunningException"), scaleset.JobStillRunningError),
        (refusal(400, "RunnerScaleSetExistsException"), scaleset.ScaleSetExistsError),
        (refusal(404, "RunnerScaleSetNotFoundException"), scaleset.NotFoundError),
        (refusal(409, "RunnerScaleSetSessionConflictException"), scaleset.SessionConflictError),
        (refusal(400, "RunnerScaleSetSessionExpiredException"), scaleset.SessionExpiredError),
        (refusal(403, "SomethingNewException"), scaleset.ForbiddenError),
        (reply(403, headers={"Retry-After": "60"}), scaleset.RateLimitedError),
        (reply(404, body=b"404 page not found", headers={"Content-Type": "text/plain"}), scaleset.NotFoundError),
        (reply(302), scaleset.ScaleSetError),
        (reply(201, {}), scaleset.UnreadableAnswerError),
    ],
)
def test_each_refusal_is_an_error_of_its_own(answer, error):
    service = Service()
    service.script("find", answer)
    with pytest.raises(scaleset.ScaleSetError) as caught:
        play(one_call(service))
    assert type(caught.value) is error


def test_request_ids_are_kept_and_nothing_that_was_said_is_repeated():
    service = Service()
    headers = {"ActivityId": "5d2c-11", "X-GitHub-Request-Id": "A:B:C"}
    service.script("find", reply(409, {"typeName": "LEAK", "message": "LEAK"}, headers=headers))
    service.script("find", reply(409, headers={"activityid": "a\nb" * 3}))
    for ids in (("5d2c-11", "A:B:C"), ("", "")):
        with pytest.raises(scaleset.ScaleSetError) as caught:
            play(one_call(service))
        assert (caught.value.activity_id, caught.value.request_id) == ids
        assert "LEAK" not in str(caught.value)
        assert str(caught.value) == "looking for scale set 'fleet-a': HTTP 409"
