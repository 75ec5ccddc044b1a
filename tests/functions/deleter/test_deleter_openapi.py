"""What docs/openapi/instance-deleter.yaml says is what the deleter does, whatever is sent and whatever fails.

RUNNER_FLEET_FUZZ_CASES sets how many requests are made up (300 unless set); the count is printed.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import sys
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from deleter import app, decide
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from emulators.faults import LEAK_MARK
from tests.functions.deleter.deleter_world import (
    BUCKET,
    CPU,
    DEMAND_BUCKET,
    FIXED,
    FOREIGN,
    JOBS,
    SCHEDULE,
    DeleterWorld,
)

CASES = int(os.environ.get("RUNNER_FLEET_FUZZ_CASES", "300"))
CHECKS: Any = list(HealthCheck)
DOCUMENT = "docs/openapi/instance-deleter.yaml"


@pytest.fixture(scope="module")
def document(root):
    return YAML(typ="safe", pure=True).load((root / DOCUMENT).read_text())


def resolved(document, value):
    while "$ref" in value and value["$ref"].startswith("#/components/responses/"):
        value = document["components"]["responses"][value["$ref"].rpartition("/")[2]]
    return value


def validators(document):
    """A validator for every documented reply, by method, path and status."""
    found = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, given_response in operation["responses"].items():
                response = resolved(document, given_response)
                schema = {**response["content"]["application/json"]["schema"], "components": document["components"]}
                needed = list(response.get("headers", {}))
                found[method.upper(), path, int(status)] = jsonschema_rs.Draft202012Validator(schema), needed
    return found


def codes(document, status=None):
    """All documented error codes."""
    found = set()
    for operations in document["paths"].values():
        for operation in operations.values():
            for number, response in operation["responses"].items():
                schema = resolved(document, response)["content"]["application/json"]["schema"]
                error = schema.get("properties", {}).get("error", {})
                if status in (None, int(number)):
                    found |= set(error.get("enum", [])) | ({error["const"]} if "const" in error else set())
    return found


def test_the_document_is_a_valid_openapi_with_the_deleters_operations(document):
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    said = {path: {method.upper() for method in methods} for path, methods in document["paths"].items()}
    assert said == {path: set(methods) for path, methods in decide.METHODS.items()}


def test_every_code_in_the_source_is_documented_and_none_else(document, root):
    package = root / "functions/instance_deleter/deleter"
    source = "\n".join(path.read_text() for path in package.glob("*.py"))
    raised = set(re.findall(r"RefusedError\(\s*\d+, \"(\w+)\"", source)) | set(app.MESSAGES)
    assert raised == codes(document)
    reasons = document["components"]["schemas"]["Permit"]["properties"]["reason"]["enum"]
    assert {reason.value for reason in decide.Reason} == set(reasons)
    for code, (status, _) in app.MESSAGES.items():
        assert code in codes(document, status)


TEXT = st.text(max_size=30)
FAULTS = ["certs.keys", "compute.instance", "compute.managed_instances", "compute.group", "compute.autoscaler",
          "compute.delete_instances", "compute.recreate_instances", "compute.operation", "storage.get",
          "storage.insert"]  # fmt: skip
CLAIMS = ["iss", "aud", "iat", "exp", "nbf", "email", "email_verified", "google", "instance_id", "instance_name",
          "zone", "project_id", "project_number"]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def mostly(usual, seldom):
    """One of the usual, and seldom something else."""
    return st.integers(0, 11).flatmap(lambda number: st.sampled_from(usual) if number else seldom)


ODD_BODIES = st.binary(max_size=100) | st.just(b" " * 1025) | JSON.map(lambda value: json.dumps(value).encode())
REQUESTS = st.fixed_dictionaries(
    {
        "call": mostly(
            [("DELETE", "/"), ("POST", "/retire"), ("POST", "/retire"), ("DELETE", "/retire")],
            st.tuples(
                st.sampled_from(["GET", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "POST", "DELETE"]),
                st.sampled_from(["/", "/retire"]) | TEXT.map(lambda text: "/" + text.replace("?", "")),
            ),
        ),
        "query": mostly([""], TEXT),
        "body": mostly([b"", b"", b"{}"], ODD_BODIES),
        "type": mostly(["application/json"], st.sampled_from(["", "text/plain", "application/x-www-form-urlencoded"])),
        "group": mostly([CPU, CPU, SCHEDULE, JOBS, FIXED], st.just(FOREIGN)),
        "token": mostly(
            ["good"],
            st.sampled_from(["none", "text", "claim", "claim", "claim", "key", "alg", "flip", "late", "early"]),
        ),
        "text": st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
        "claim": st.tuples(st.sampled_from(CLAIMS), JSON | st.integers(1, 1 << 40) | st.just("x@y.example")),
        "state": mostly(
            ["RUNNING"], st.sampled_from(["STOPPING", "TERMINATED", "gone", "reused", "of nobody", "of another"])
        ),
        "action": st.sampled_from(["NONE"] * 5 + ["DELETING", "ABANDONING", "RECREATING"]),
        "recommended": mostly([0, 1, 2], st.none() | st.integers(-1, 5)),
        "ledger": mostly([None], ODD_BODIES),
        "demand": mostly(
            [b'{"desired": 1, "expires": "2099-01-01T00:00:00Z"}', None],
            st.binary(max_size=20)
            | st.builds(
                lambda size, when: json.dumps({"desired": size, "expires": when}).encode(),
                st.integers(-1, 5),
                st.sampled_from(["2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2099"]) | TEXT,
            ),
        ),
        "faults": st.lists(
            st.tuples(
                st.sampled_from(FAULTS),
                st.sampled_from(["status", "status", "reset", "garbage"]),
                st.sampled_from([400, 401, 403, 404, 409, 412, 429, 500, 503]),
                st.booleans(),
                st.sampled_from([1, 1, 3, 1000]),
            ),
            max_size=2,
        ),
        "operation_fails": st.booleans(),
    }
)


def bring(world, made, vm):
    """The VM into the state wanted."""
    google = world.google
    vm.action = made["action"]
    if made["state"] in ("gone", "reused"):
        google.delete_instance(vm)
        if made["state"] == "reused":
            google.create_instance(google.groups[made["group"]], name=vm.name)
    elif made["state"] == "of nobody":
        del vm.metadata["created-by"]
    elif made["state"] == "of another":
        vm.metadata["created-by"] = google.groups[FIXED if made["group"] != FIXED else CPU].created_by
    else:
        vm.status = made["state"]


def arranged(world, made):
    """A VM of the group wanted, in the state wanted."""
    google = world.google
    world.faults.clear()
    google.compute.failing.clear()
    google.objects.clear()
    for group in google.groups.values():
        group.instances.clear()
        group.target_size = 0
    vm, _, _ = world.vms(made["group"], 3)
    google.groups[made["group"]].stable = True
    if google.groups[made["group"]].autoscaler:
        world.recommend(made["recommended"], made["group"])
    if made["ledger"] is not None:
        google.put_object(BUCKET, f"permits/{made['group']}.json", made["ledger"])
    if made["demand"] is not None:
        google.put_object(DEMAND_BUCKET, f"demand/{made['group']}.json", made["demand"])
    bring(world, made, vm)
    for route, kind, status, after, times in made["faults"]:
        world.faults.script(route, kind, status=200 if kind == "garbage" else status, after=after, times=times)
    if made["operation_fails"]:
        google.fail_operation("compute.delete_instances")
    return vm


def authorization(world, made, vm):
    """An Authorization header of the kind wanted; None for none."""
    name, value = made["claim"]
    now = int(world.now())
    spoiled = {
        "claim": {"claims": {name: value}},
        "key": {"key": "attacker"},
        "alg": {"alg": "HS256"},
        "late": {"exp": now - 1000},
        "early": {"iat": now + 1000},
    }
    token = world.bearer(vm, **spoiled.get(made["token"], {}))["Authorization"]
    match made["token"]:
        case "none":
            return None
        case "text":
            return "Bearer " + made["text"]
        case "flip":
            at = random.Random(made["text"]).randrange(7, len(token))
            return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        case _:
            return token


def test_whatever_is_sent_and_whatever_fails_the_reply_is_documented(document):
    known = validators(document)
    seen = collections.Counter()
    anywhere = {status: known["POST", "/retire", status] for status in (404, 405)}
    with DeleterWorld() as world:
        client = world.app.test_client()

        @settings(max_examples=CASES, phases=[Phase.generate], suppress_health_check=CHECKS, deadline=None)
        @given(REQUESTS)
        def one(made):
            method, path = made["call"]
            vm = arranged(world, made)
            others = [other for group in world.google.groups.values() for other in group.instances if other is not vm]
            world.deleter._verifier._keys._fetched = None  # so that fetching the keys fails, too
            world.deleter._verifier._keys._tried = None
            headers = {"Content-Type": made["type"]} if made["type"] else {}
            token = authorization(world, made, vm)
            if token is not None:
                headers["Authorization"] = token
            reply = client.open(path, method=method, query_string=made["query"], data=made["body"], headers=headers)
            seen[reply.status_code, (reply.get_json(silent=True) or {}).get("error", "")] += 1
            if reply.status_code == 308 and "//" in path:
                return  # werkzeug's own, before any of ours
            validator, needed = known.get((method, path, reply.status_code)) or anywhere[reply.status_code]
            assert reply.content_type == "application/json"
            assert all(name in reply.headers for name in needed), needed
            if method != "HEAD":
                validator.validate(reply.get_json())
                assert LEAK_MARK not in reply.get_data(as_text=True)
            assert reply.status_code != 500, f"{dict(world.lines[-1])} {made}"
            assert all(other.action == "NONE" for other in others)

        one()
    total = sum(seen.values())
    sys.stdout.write(
        f"fuzzed: {total} requests; " + ", ".join(f"{a} {b}: {n}" for (a, b), n in sorted(seen.items())) + "\n"
    )
    assert total >= CASES
    if CASES >= 5000:
        reached = {code for _, code in seen} - {""}
        assert reached >= codes(document) - {"internal"}, codes(document) - reached


def test_requests_that_schemathesis_makes_of_the_document_get_documented_replies(document):
    made = collections.Counter()
    with DeleterWorld() as world:
        schema = schemathesis.openapi.from_wsgi("/openapi.json", with_document(world.app, document))
        vm = world.vms(CPU, 2)[0]

        for result in schema.get_all_operations():
            operation: Any = result.ok()  # pyright: ignore[reportAttributeAccessIssue]

            @settings(max_examples=max(10, CASES // 10), suppress_health_check=CHECKS, deadline=None, database=None)
            @given(case=operation.as_strategy())
            def one(case):
                vm.action, vm.status = "NONE", "RUNNING"
                if vm not in world.google.groups[CPU].instances:
                    world.google.groups[CPU].instances.append(vm)
                case.headers["Authorization"] = world.bearer(vm)["Authorization"]
                made[case.call_and_validate().status_code] += 1

            one()
    sys.stdout.write(f"schemathesis: {sum(made.values())} requests; {dict(made)}\n")
    assert sum(made.values()) > 0


def with_document(flask_app, document):
    """The app, and its document beside it for schemathesis to load."""

    @flask_app.before_request
    def serve():
        import flask

        return flask.jsonify(document) if flask.request.path == "/openapi.json" else None

    return flask_app
