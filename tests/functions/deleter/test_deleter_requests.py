"""Whom the deleter serves, over HTTP: requests, tokens, identities; and that a VM can touch nothing but itself."""

from __future__ import annotations

import json
import socket

import pytest

from tests.functions.deleter.deleter_world import AUDIENCE, CPU, FIXED, FOREIGN, JOBS, SCHEDULE

OPERATIONS = [("DELETE", "/"), ("POST", "/retire"), ("DELETE", "/retire")]


def refused(reply, status, code):
    assert (reply.status_code, reply.json()["error"]) == (status, code)
    assert set(reply.json()) == {"error", "message"}
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS", "HEAD"])
def test_the_root_takes_delete_alone(world, method):
    reply = world.call(method, "/", world.vms(CPU, 1)[0])
    assert (reply.status_code, reply.headers["Allow"]) == (405, "DELETE")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "OPTIONS"])
def test_retire_takes_post_and_delete_alone(world, method):
    reply = world.call(method, "/retire", world.vms(CPU, 1)[0])
    refused(reply, 405, "method_wrong")
    assert reply.headers["Allow"] == "POST, DELETE"


@pytest.mark.parametrize(
    "path", ["/retire/", "/retire/1", "/Retire", "/jit", "/..%2f", "/retire%00", "/permits/a.json"]
)
def test_there_are_no_other_paths(world, path):
    refused(world.call("DELETE", path, world.vms(CPU, 1)[0]), 404, "no_such_path")
    assert world.changed() == []


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{}", "text/plain", 415, "type_wrong"),
        (b"{}", "application/jsonp", 415, "type_wrong"),
        (b"{", "application/json", 400, "body_malformed"),
        (b"\xff", "application/json", 400, "body_malformed"),
        (b"[]", "application/json", 400, "body_malformed"),
        (b'{"instance": "other"}', "application/json", 400, "unknown_field"),
        (b"[" * 1000, "application/json", 400, "body_malformed"),
        (b" " * 1025, "application/json", 413, "body_too_large"),
        (b" " * 100_000, "application/json", 413, "body_too_large"),
    ],
)
def test_a_body_says_nothing_or_is_refused(world, method, path, body, kind, status, code):
    reply = world.call(method, path, world.vms(CPU, 1)[0], data=body, headers={"Content-Type": kind})
    refused(reply, status, code)
    assert world.changed() == []


def test_a_body_without_a_length_is_read_to_its_limit_only(world):
    vm = world.vms(CPU, 1)[0]
    reply = world.call("DELETE", "/retire", vm, data=iter([b" "] * 2000), headers={"Content-Type": "application/json"})
    assert reply.status_code in (200, 413)
    assert world.holders() == set()


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_an_empty_object_is_as_good_as_no_body(world, kind):
    reply = world.call("DELETE", "/retire", world.vms(CPU, 1)[0], data=b"{}", headers={"Content-Type": kind})
    assert reply.json() == {"returned": True}


def test_curls_empty_form_is_no_body(world):
    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}
    assert world.call("DELETE", "/retire", world.vms(CPU, 1)[0], data=b"", headers=form).status_code == 200


SPOILED = {
    "expired": ({"exp": lambda now: now - 121}, 401, "token_expired"),
    "future": ({"iat": lambda now: now + 121}, 401, "token_early"),
    "not yet valid": ({"nbf": lambda now: now + 121}, 401, "token_early"),
    "no expiry": ({"exp": None}, 401, "claims_missing"),
    "no issue time": ({"iat": None}, 401, "claims_missing"),
    "other audience": ({"aud": AUDIENCE + "/"}, 401, "audience_wrong"),
    "the broker's audience": ({"aud": AUDIENCE.replace("deleter", "broker")}, 401, "audience_wrong"),
    "several audiences": ({"aud": [AUDIENCE]}, 401, "audience_wrong"),
    "other issuer": ({"iss": "https://accounts.google.com.evil.example"}, 401, "issuer_wrong"),
    "other key": ({"key": "attacker"}, 401, "signature_wrong"),
    "no algorithm": ({"alg": "none"}, 401, "algorithm_wrong"),
    "public key as a secret": ({"alg": "HS256"}, 401, "algorithm_wrong"),
    "no VM": ({"google": None}, 401, "claims_missing"),
    "unverified address": ({"email_verified": False}, 401, "claims_missing"),
    "no address": ({"email": None}, 401, "claims_missing"),
    "id with a sign": ({"instance_id": "-1"}, 401, "claims_missing"),
    "zone that is a path": ({"zone": "us-west1-a/instances/x?"}, 401, "claims_missing"),
    "name that is a path": ({"instance_name": "../other"}, 401, "claims_missing"),
    "other project": ({"project_id": "evil"}, 403, "project_wrong"),
}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("defect", SPOILED)
def test_a_spoiled_token_gets_nothing(world, method, path, defect):
    spoiled, status, code = SPOILED[defect]
    now = int(world.now())
    how = {name: value(now) if callable(value) else value for name, value in spoiled.items()}
    vm = world.vms(CPU, 1)[0]
    reply = world.call(method, path, headers=world.bearer(vm, **how))
    refused(reply, status, code)
    assert (reply.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)
    assert world.changed() == []


def test_another_key_under_a_published_keys_id_signs_nothing(world):
    vm = world.vms(CPU, 1)[0]
    headers = world.bearer(vm, key="attacker", kid=world.google.keys.current.kid)
    refused(world.call("DELETE", "/", headers=headers), 401, "signature_wrong")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token_missing"),
        ("", "token_missing"),
        ("Bearer", "token_missing"),
        ("Basic abc", "token_missing"),
        ("Bearer x", "token_malformed"),
        ("Bearer a.b.c", "token_malformed"),
        ("Bearer " + "a" * 9000, "token_malformed"),
        ("Bearer a.b.c, Bearer d.e.f", "token_malformed"),
    ],
)
def test_what_is_no_token_gets_nothing(world, header, code):
    refused(world.call("DELETE", "/", headers={} if header is None else {"Authorization": header}), 401, code)


def test_a_functions_own_token_names_no_vm(world):
    token = world.google.account_token("x@iree-oss.iam.gserviceaccount.com", AUDIENCE)
    refused(world.call("DELETE", "/", headers={"Authorization": f"Bearer {token}"}), 401, "claims_missing")


@pytest.mark.parametrize("skew", [-119, 119])
def test_clocks_may_be_two_minutes_apart(world, skew):
    world.skew = skew
    assert world.call("DELETE", "/retire", world.vms(CPU, 1)[0]).status_code == 200


def test_clocks_may_not_be_further_apart(world):
    vm = world.vms(CPU, 1)[0]
    world.skew = -125
    refused(world.call("DELETE", "/retire", vm), 401, "token_early")
    world.skew = 3600 + 125
    refused(world.call("DELETE", "/retire", vm), 401, "token_expired")


@pytest.mark.parametrize(("method", "path"), OPERATIONS[1:])
def test_a_vm_that_is_gone_gets_no_permit_and_has_none(world, method, path):
    vm = world.vms(CPU, 1)[0]
    world.google.delete_instance(vm)
    refused(world.call(method, path, vm), 403, "instance_gone")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_successor_of_its_name_is_safe_from_a_dead_vms_token(world, method, path):
    old = world.vms(CPU, 1)[0]
    world.google.delete_instance(old)
    world.google.create_instance(world.google.groups[CPU], name=old.name)
    refused(world.call(method, path, old), 403, "instance_reused")
    assert world.changed() == []


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_group_that_is_not_listed_gets_nothing(world, method, path):
    vm = world.vms(FOREIGN, 1)[0]
    refused(world.call(method, path, vm), 403, "group_unknown")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_vm_of_no_group_gets_nothing(world, method, path):
    vm = world.vms(CPU, 1)[0]
    del vm.metadata["created-by"]
    refused(world.call(method, path, vm), 403, "not_in_a_group")


@pytest.mark.parametrize(
    "made",
    [
        "projects/evil/regions/us-west1/instanceGroupManagers/presubmit-west",
        "projects/iree-oss/regions/us-east1/instanceGroupManagers/presubmit-west",
        "projects/iree-oss/zones/us-west1-a/instanceGroupManagers/presubmit-west",
        "projects/iree-oss/regions/us-west1/instanceGroupManagers/presubmit-west/x",
    ],
)
def test_a_maker_that_is_nearly_a_listed_group_is_none(world, made):
    vm = world.vms(CPU, 1)[0]
    vm.metadata["created-by"] = made
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, world.changed()) == (403, [])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_another_trust_levels_account_gets_nothing(world, method, path):
    vm = world.vms(CPU, 1)[0]
    vm.metadata["created-by"] = world.google.groups[FIXED].created_by
    refused(world.call(method, path, vm), 403, "account_wrong")
    assert world.changed() == []


def test_a_stopped_vm_gets_nothing(world):
    vm = world.vms(CPU, 1)[0]
    vm.status = "TERMINATED"
    refused(world.call("DELETE", "/", vm), 403, "not_running")


ATTACKS = {
    "another's name in the query": {"query": "?instance={other}"},
    "another's id in the query": {"query": "?instance_id={id}"},
    "another's name in the body": {"json": {"instance": "{other}"}},
    "another's link in the body": {"json": {"instances": ["zones/us-west1-a/instances/{other}"]}},
    "another's name in the path": {"suffix": "/{other}"},
    "another's name up the path": {"suffix": "/../{other}"},
    "a header that rewrites the method": {"headers": {"X-HTTP-Method-Override": "DELETE"}, "harmless": True},
    "a header that rewrites the path": {
        "headers": {
            "X-Original-URL": "/retire?instance={other}",
            "X-Rewrite-URL": "/",
            "X-Forwarded-Prefix": "/{other}",
        },
        "harmless": True,
    },
    "headers that name another": {
        "headers": {
            "X-Instance-Id": "{id}",
            "X-Forwarded-For": "10.0.0.9",
            "X-Goog-Authenticated-User-Email": "{other}",
        },
        "harmless": True,
    },
    "a second token in the query": {"query": "?access_token={token}"},
}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_a_vm_says_makes_it_act_on_another(world, method, path, attack):
    me, other = world.vms(CPU, 2)
    for vm in (me, other):
        world.recommend(0)
        world.google.groups[CPU].target_size = 9
        world.google.groups[CPU].stable = True
        assert world.ask(vm) == (True, "granted")
    tried = json.loads(json.dumps(ATTACKS[attack]).replace("{other}", other.name).replace("{id}", other.id))
    query = tried.get("query", "").replace("{token}", world.bearer(other)["Authorization"][7:])
    target = path.rstrip("/") + tried["suffix"] if "suffix" in tried else path
    reply = world.call(method, target + query, me, json=tried.get("json"), headers=tried.get("headers", {}))
    assert (reply.status_code < 300) == tried.get("harmless", False)
    assert other.action == "NONE"
    assert other.status == "RUNNING"
    assert other.id in world.holders()
    links = [
        link for route in ("delete", "recreate") for call in world.named(f"compute.{route}_instances") for link in call
    ]
    assert set(links) <= {f"zones/{me.zone}/instances/{me.name}"}


def test_claims_that_name_another_vm_do_not_verify_unless_google_signed_them(world):
    me, other = world.vms(CPU, 2)
    for how in ({"alg": "none"}, {"alg": "HS256"}, {"key": "attacker"}):
        headers = world.bearer(me, instance_id=other.id, instance_name=other.name, **how)
        assert world.call("DELETE", "/", headers=headers).status_code == 401
    signed = world.bearer(me, instance_name=other.name)
    refused(world.call("DELETE", "/", headers=signed), 403, "instance_reused")
    assert other.action == me.action == "NONE"


def test_a_signed_token_with_a_flipped_payload_is_refused(world):
    me, other = world.vms(CPU, 2)
    head, _, mark = world.bearer(me)["Authorization"].split(".")
    payload = world.bearer(other)["Authorization"].split(".")[1]
    refused(world.call("DELETE", "/", headers={"Authorization": f"{head}.{payload}.{mark}"}), 401, "signature_wrong")


@pytest.mark.parametrize(
    "line",
    [
        "DELETE /retire?x HTTP/1.1",
        "DELETE //evil.example/retire HTTP/1.1",
        "DELETE http://evil.example/retire HTTP/1.1",
        "DELETE /%2e%2e/retire HTTP/1.1",
        "DELETE /retire;instance=other HTTP/1.1",
        "DELETE /retire#other HTTP/1.1",
    ],
)
def test_raw_request_lines_get_a_clear_answer_and_touch_nobody_else(world, line):
    me, other = world.vms(CPU, 2)
    host, port = world.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        token = world.bearer(me)["Authorization"]
        raw.sendall(f"{line}\r\nHost: x\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
    assert int(answer.split()[1]) in (200, 308, 400, 404)
    assert me.action == other.action == "NONE"


def test_keys_that_cannot_be_fetched_are_said_and_nobody_is_let_in(world):
    world.faults.script("certs.keys", status=503, times=100)
    refused(world.call("DELETE", "/", world.vms(CPU, 1)[0]), 503, "keys_unavailable")


def test_one_line_is_logged_for_each_request_without_token_or_upstream_words(world):
    vm = world.vms(CPU, 1)[0]
    world.recommend(None)
    world.ask(vm)
    world.faults.script("compute.instance", status=403)
    world.call("DELETE", "/", vm)
    assert len(world.lines) == 2
    first, second = world.lines
    assert (first["severity"], first["outcome"], first["group"]) == ("INFO", "no_recommendation", CPU)
    assert (first["instance_id"], first["instance"], first["pool"]) == (vm.id, vm.name, "a-pool")
    assert (second["severity"], second["outcome"], second["status"]) == ("ERROR", "google_refused", 502)
    text = json.dumps([dict(line) for line in world.lines])
    assert "must-not-leak" not in text
    assert "eyJ" not in text
    assert world.token not in text


def test_a_bug_is_said_without_its_words(world, monkeypatch):
    def broken(*_args, **_more):
        raise KeyError("a-secret")

    monkeypatch.setattr(world.deleter._permits, "ask", broken)
    reply = world.call("POST", "/retire", world.vms(CPU, 1)[0])
    refused(reply, 500, "internal")
    assert "a-secret" not in reply.text + json.dumps([dict(line) for line in world.lines])
    assert "broken" in world.lines[0]["cause"]


@pytest.mark.parametrize("group", [CPU, SCHEDULE, JOBS, FIXED])
def test_every_listed_group_is_served(world, group):
    assert world.call("DELETE", "/retire", world.vms(group, 1)[0]).status_code == 200
