"""The broker over HTTP when all is well, and what it says to requests and callers that are not."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.functions.broker.broker_service import (
    ACCOUNTS,
    AUDIENCE,
    BOOT_DEADLINE_SECONDS,
    POSTSUBMIT,
    PRESUBMIT,
    BrokerService,
)


def runner_of(service: BrokerService, name: str):
    return service.site.github.runners[name]


def test_a_vm_gets_its_configuration_with_the_group_and_labels_of_the_table(service):
    vm = service.vm()
    reply = service.jit(vm)
    assert reply.status == 200, reply.raw
    runner = runner_of(service, vm.name)
    assert reply.body["runner_id"] == runner.id
    assert service.site.github.groups["presubmit"].id == runner.group_id
    assert runner.work_folder == "_work"
    own = [f"zone={vm.zone}", f"hostname={vm.name}", f"instance-id={vm.id}"]
    assert runner.labels == ["self-hosted", "linux", "x64", "runner-group=presubmit", "environment=prod", "cpu", *own]
    assert service.grant(vm)["runner_id"] == runner.id
    assert service.grant(vm)["state"] == "registered"


def test_the_answer_is_what_the_script_on_the_vm_unpacks(service):
    from startup.lib import jit_config

    vm = service.vm()
    runner_id, files = jit_config.read(service.jit(vm).raw)
    assert runner_id == runner_of(service, vm.name).id
    assert json.loads(files[".runner"])["agentName"] == vm.name


def test_the_time_to_register_ends_with_the_boot_deadline(service):
    vm = service.vm(age_seconds=30)
    from datetime import datetime

    expires = datetime.fromisoformat(service.jit(vm).body["expires"]).timestamp()
    assert abs(expires - (vm.created + BOOT_DEADLINE_SECONDS)) < 1.1


def test_a_vm_gets_no_second_configuration(service):
    vm = service.vm()
    assert service.jit(vm).status == 200
    again = service.jit(vm)
    assert (again.status, again.error) == (409, "grant_taken")
    assert len(service.site.asked("github.jit")) == 1


def test_of_fifty_requests_at_once_exactly_one_wins(service):
    vm = service.vm()
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: service.jit(vm), range(50)))
    assert sorted(reply.status for reply in replies) == [200] + [409] * 49
    assert {reply.error for reply in replies} == {"", "grant_taken"}
    assert len(service.site.github.runners) == 1


def test_an_empty_object_is_as_good_as_no_body(service):
    reply = service.send(
        token=service.token(service.vm()), body=b" {}\n", headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert reply.status == 200


def test_curl_calls_an_empty_body_a_form(service):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert service.send(token=service.token(service.vm()), headers=headers).status == 200


JSON = {"Content-Type": "application/json"}

BAD_REQUESTS = {
    "wrong path": ("POST", "/", b"", {}, 404, "no_such_path"),
    "path below": ("POST", "/jit/", b"", {}, 404, "no_such_path"),
    "path in capitals": ("POST", "/JIT", b"", {}, 404, "no_such_path"),
    "path with dots": ("POST", "/x/../jit", b"", {}, 404, "no_such_path"),
    "GET": ("GET", "/jit", b"", {}, 405, "method_wrong"),
    "PUT": ("PUT", "/deregister", b"", {}, 405, "method_wrong"),
    "DELETE": ("DELETE", "/jit", b"", {}, 405, "method_wrong"),
    "OPTIONS": ("OPTIONS", "/jit", b"", {}, 405, "method_wrong"),
    "a method of one's own": ("BREW", "/jit", b"", {}, 405, "method_wrong"),
    "query": ("POST", "/jit?name=other", b"", {}, 400, "unknown_field"),
    "wrong type": ("POST", "/jit", b"{}", {"Content-Type": "text/plain"}, 415, "type_wrong"),
    "no type": ("POST", "/jit", b"{}", {"Content-Type": ""}, 415, "type_wrong"),
    "too large": ("POST", "/jit", b" " * 1025, JSON, 413, "body_too_large"),
    "much too large": ("POST", "/jit", b" " * 300_000, JSON, 413, "body_too_large"),
    "no JSON": ("POST", "/jit", b"{", JSON, 400, "body_malformed"),
    "deep JSON": ("POST", "/jit", b"[" * 1024, JSON, 400, "body_malformed"),
    "deep objects": ("POST", "/jit", b'{"":' * 256, JSON, 400, "body_malformed"),
    "not UTF-8": ("POST", "/jit", b'{"a": "\xff"}', JSON, 400, "body_malformed"),
    "UTF-16": ("POST", "/jit", "{}".encode("utf-16"), JSON, 400, "body_malformed"),
    "a list": ("POST", "/jit", b"[]", JSON, 400, "body_malformed"),
    "null": ("POST", "/jit", b"null", JSON, 400, "body_malformed"),
    "unknown field": ("POST", "/jit", b'{"labels": ["trust=basic"]}', JSON, 400, "unknown_field"),
    "unknown field of deregister": ("POST", "/deregister", b'{"runner_id": 1}', JSON, 400, "unknown_field"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_before_anybody_is_asked(service, case):
    method, path, body, headers, status, error = BAD_REQUESTS[case]
    reply = service.send(method, path, token=service.token(service.vm()), body=body, headers=headers)
    assert (reply.status, reply.error) == (status, error)
    assert reply.headers["content-type"] == "application/json"
    assert ("allow" in reply.headers) == (status == 405)
    assert service.site.requests == []


def test_a_body_that_says_no_length_is_measured_all_the_same(service):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    chunks = iter([b" " * 1000, b" " * 1000])
    headers = {"Authorization": f"Bearer {service.token(service.vm())}", "Content-Type": "application/json"}
    connection.request("POST", "/jit", body=chunks, headers=headers, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"] == "body_too_large"
    connection.close()


def test_a_head_request_has_no_body_and_is_refused(service):
    reply = service.send("HEAD", "/jit")
    assert (reply.status, reply.raw) == (405, b"")


BAD_TOKENS = {
    "expired": ({"iat": -7200, "exp": -3600}, 401, "token_expired"),
    "from the future": ({"iat": 600, "exp": 4200}, 401, "token_early"),
    "not valid yet": ({"nbf": 600}, 401, "token_early"),
    "for another service": ({"audience": AUDIENCE + "/"}, 401, "audience_wrong"),
    "for the deleter": ({"audience": AUDIENCE.replace("broker", "deleter")}, 401, "audience_wrong"),
    "for several services": ({"aud": [AUDIENCE, "other"]}, 401, "audience_wrong"),
    "for nobody": ({"aud": None}, 401, "audience_wrong"),
    "of another issuer": ({"iss": "https://accounts.example.com"}, 401, "issuer_wrong"),
    "of several issuers": ({"iss": ["https://accounts.google.com"]}, 401, "issuer_wrong"),
    "of an issuer that is an object": ({"iss": {}}, 401, "issuer_wrong"),
    "without an issuer": ({"iss": None}, 401, "issuer_wrong"),
    "without an end": ({"exp": None}, 401, "claims_missing"),
    "without a beginning": ({"iat": None}, 401, "claims_missing"),
    "with a text as its end": ({"exp": "soon"}, 401, "claims_missing"),
    "with an endless end": ({"exp": 1e400}, 401, "claims_missing"),
    "signed by somebody else": ({"key": "mallory"}, 401, "signature_wrong"),
    "signed by somebody else who names Google's key": ({"key": "mallory", "kid": "google"}, 401, "signature_wrong"),
    "without a signature": ({"alg": "none"}, 401, "algorithm_wrong"),
    "signed with the public key as a secret": ({"alg": "HS256"}, 401, "algorithm_wrong"),
    "without an instance": ({"google": None}, 401, "claims_missing"),
    "without an account": ({"email": None}, 401, "claims_missing"),
    "with an account that is not verified": ({"email_verified": False}, 401, "claims_missing"),
    "with an id that is no number": ({"instance_id": "1/../2"}, 401, "claims_missing"),
    "with a zone that leads elsewhere": ({"zone": "us-west1-a/instances/x?"}, 401, "claims_missing"),
    "with a name that leads elsewhere": ({"instance_name": "../x"}, 401, "claims_missing"),
    "with a name that is a list": ({"instance_name": ["x"]}, 401, "claims_missing"),
    "of another project": ({"project_id": "mallory"}, 403, "project_wrong"),
    "of no project": ({"project_id": None}, 403, "project_wrong"),
    "of a zone without this VM": ({"zone": "us-west1-b"}, 403, "instance_gone"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_a_token_is_refused(service, case):
    spoiled, status, error = BAD_TOKENS[case]
    now = int(service.site.clock.now())
    spoiled = {name: now + value if name in {"iat", "exp", "nbf"} and isinstance(value, int) else value
               for name, value in spoiled.items()}  # fmt: skip
    if spoiled.get("kid") == "google":
        spoiled["kid"] = service.site.google.keys.current.kid
    vm = service.vm()
    reply = service.send(token=service.token(vm, **spoiled))
    assert (reply.status, reply.error) == (status, error)
    assert ("www-authenticate" in reply.headers) == (status == 401)
    assert service.grants == []
    assert service.site.asked("github.jit") == []


HEADERS = {
    "none": (None, "token_missing"),
    "another scheme": ("Basic dXNlcjpwYXNz", "token_missing"),
    "no token": ("Bearer ", "token_missing"),
    "no JWT": ("Bearer abc", "token_malformed"),
    "four parts": ("Bearer a.b.c.d", "token_malformed"),
    "no base64": ("Bearer a.b.c", "token_malformed"),
    "too long": ("Bearer " + "a" * 3000 + "." + "b" * 3000 + "." + "c" * 3000, "token_malformed"),
    "two tokens": ("Bearer a.b.c, Bearer a.b.c", "token_malformed"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_an_authorization_header_is_refused(service, case):
    value, error = HEADERS[case]
    reply = service.send(headers={} if value is None else {"Authorization": value})
    assert (reply.status, reply.error) == (401, error)


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


MALFORMED = {
    "deep header": b"[" * 2000,
    "header that is no object": b"3",
    "header without algorithm": b"{}",
    "key id that is a number": b'{"alg": "RS256", "kid": 7}',
    "no key id": b'{"alg": "RS256"}',
    "unknown extension": b'{"alg": "RS256", "kid": "x", "crit": ["exp"], "exp": 1}',
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_token_with_a_broken_header_is_refused(service, case):
    reply = service.send(token=f"{part(MALFORMED[case])}.{part(b'{}')}.{part(b'signature')}")
    assert reply.status == 401
    assert reply.error in {"token_malformed", "algorithm_wrong", "signature_wrong"}


@pytest.mark.parametrize("skew_seconds", [-119, 119])
def test_clocks_may_be_two_minutes_apart(service, skew_seconds):
    now = int(service.site.clock.now())
    service.skew_seconds = skew_seconds
    fresh, ending = {"iat": now, "exp": now + 3600}, {"iat": now - 3600, "exp": now}
    for claims in (fresh, ending):
        if claims is ending and skew_seconds > 0:
            service.skew_seconds = 115
        assert service.send(token=service.token(service.vm(), **claims)).status == 200


@pytest.mark.parametrize(("skew_seconds", "error"), [(-130, "token_early"), (3600 + 130, "token_expired")])
def test_clocks_that_are_further_apart_are_refused(service, skew_seconds, error):
    token = service.token(service.vm())
    service.skew_seconds = skew_seconds
    assert service.send(token=token).error == error


def test_a_token_of_a_deleted_vm_is_worth_nothing(service):
    vm = service.vm()
    token = service.token(vm)
    service.site.google.delete_instance(vm)
    reply = service.send(token=token)
    assert (reply.status, reply.error) == (403, "instance_gone")


def test_a_token_of_a_vm_whose_name_is_used_again_is_worth_nothing(service):
    vm = service.vm()
    token = service.token(vm)
    service.site.google.delete_instance(vm)
    again = service.vm(name=vm.name)
    reply = service.send(token=token)
    assert (reply.status, reply.error) == (403, "instance_reused")
    assert service.jit(again).status == 200


def test_a_vm_of_a_group_that_is_not_listed_is_refused(service):
    account = ACCOUNTS[PRESUBMIT]
    service.site.google.add_group("somebodys-group", service_account=account)
    reply = service.jit(service.vm("somebodys-group"))
    assert (reply.status, reply.error) == (403, "group_unknown")


@pytest.mark.parametrize(
    "created_by",
    [
        None,
        "",
        PRESUBMIT,
        f"projects/123456789012/zones/us-west1-a/instanceGroupManagers/{PRESUBMIT}",
        f"x/projects/123456789012/regions/us-west1/instanceGroupManagers/{PRESUBMIT}",
        f"https://www.googleapis.com/compute/v1/projects/iree-oss/regions/us-west1/instanceGroupManagers/{PRESUBMIT}",
    ],
)
def test_a_vm_that_no_regional_group_made_is_refused(service, created_by):
    vm = service.vm()
    if created_by is None:
        del vm.metadata["created-by"]
    else:
        vm.metadata["created-by"] = created_by
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (403, "not_in_a_group")


@pytest.mark.parametrize(
    "created_by",
    [
        f"projects/999/regions/us-west1/instanceGroupManagers/{PRESUBMIT}",
        f"projects/mallory/regions/us-west1/instanceGroupManagers/{PRESUBMIT}",
        f"projects/123456789012/regions/us-east1/instanceGroupManagers/{PRESUBMIT}",
        f"projects/123456789012/regions/us-west1/instanceGroupManagers/{PRESUBMIT}x",
        f"projects/123456789012/regions/us-west1/instanceGroupManagers/{PRESUBMIT}\n",
    ],
)
def test_a_vm_of_such_a_group_elsewhere_is_refused(service, created_by):
    vm = service.vm()
    vm.metadata["created-by"] = created_by
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (403, "group_unknown")


def test_a_group_may_be_named_by_the_projects_id(service):
    vm = service.vm()
    vm.metadata["created-by"] = f"projects/iree-oss/regions/us-west1/instanceGroupManagers/{PRESUBMIT}"
    assert service.jit(vm).status == 200


@pytest.mark.parametrize("claimed", ["own", "group's"])
def test_a_vm_that_runs_as_another_trust_levels_account_is_refused(service, claimed):
    vm = service.vm(PRESUBMIT)
    vm.service_account = ACCOUNTS[POSTSUBMIT]
    email = vm.service_account if claimed == "own" else ACCOUNTS[PRESUBMIT]
    reply = service.send(token=service.token(vm, email=email))
    assert (reply.status, reply.error) == (403, "account_wrong")


def test_a_vm_whose_metadata_names_a_group_of_another_trust_level_is_refused(service):
    vm = service.vm(PRESUBMIT)
    vm.metadata["created-by"] = service.site.google.groups[POSTSUBMIT].created_by
    assert service.jit(vm).error == "account_wrong"


@pytest.mark.parametrize("status", ["STOPPING", "TERMINATED", "PROVISIONING", "SUSPENDED", ""])
def test_a_vm_that_does_not_run_is_refused(service, status):
    vm = service.vm()
    vm.status = status
    assert service.jit(vm).error == "not_running"


def test_a_vm_that_is_older_than_the_boot_deadline_is_refused(service):
    assert service.jit(service.vm(age_seconds=BOOT_DEADLINE_SECONDS - 20)).status == 200
    reply = service.jit(service.vm(age_seconds=BOOT_DEADLINE_SECONDS + 1))
    assert (reply.status, reply.error) == (403, "too_old")
    assert len(service.grants) == 1


def test_a_vm_removes_its_own_runner_and_may_say_so_twice(service):
    vm = service.vm()
    service.jit(vm)
    other = service.vm()
    service.jit(other)
    for _ in range(2):
        reply = service.deregister(vm)
        assert (reply.status, reply.body) == (200, {"deregistered": True})
    assert list(service.site.github.runners) == [other.name]


def test_a_runner_with_a_job_stays(service):
    vm = service.vm()
    service.jit(vm)
    service.site.github.start_job(vm.name)
    reply = service.deregister(vm)
    assert (reply.status, reply.error) == (409, "busy")
    assert vm.name in service.site.github.runners


def test_a_vm_without_a_grant_has_nothing_to_remove(service):
    reply = service.deregister(service.vm())
    assert (reply.status, reply.error) == (404, "no_grant")


def test_an_old_vm_may_still_deregister(service):
    vm = service.vm()
    service.jit(vm)
    vm.created -= 80_000
    assert service.deregister(vm).status == 200


def test_keys_that_google_changes_are_followed_and_old_tokens_hold_while_published(service):
    before = service.vm()
    old = service.token(before)
    assert service.jit(service.vm()).status == 200
    service.site.google.keys.rotate()
    service.site.clock.advance(61)
    assert service.jit(service.vm()).status == 200
    assert service.send(token=old).status == 200
    assert len(service.site.asked("certs.keys")) == 2


def test_invented_key_ids_do_not_make_the_broker_ask_google_again_and_again(service):
    for number in range(20):
        assert service.send(token=service.token(service.vm(), kid=f"invented-{number}")).error == "signature_wrong"
    assert len(service.site.asked("certs.keys")) == 1


def test_one_line_is_logged_for_each_request_and_tells_no_secret(service):
    vm = service.vm()
    service.jit(vm)
    service.jit(vm)
    service.send("GET", "/nonsense")
    done, taken, nonsense = service.lines
    assert done["severity"] == "INFO"
    assert (done["outcome"], done["instance_id"], done["instance"]) == ("done", vm.id, vm.name)
    assert done["group"] == PRESUBMIT
    assert done["runner_id"] == runner_of(service, vm.name).id
    assert isinstance(done["milliseconds"], int)
    assert (taken["severity"], taken["outcome"], taken["status"]) == ("WARNING", "grant_taken", 409)
    assert nonsense["outcome"] == "no_such_path"
    text = service.log_text()
    assert not [secret for secret in service.secrets() if secret in text]
