"""docs/openapi/registration-broker.yaml against the function: drawn requests, drawn faults, every reply in its schema.

RUNNER_FLEET_FUZZ_CASES says how many (300 unless set).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from broker import decide
from broker.app import MESSAGES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.functions.broker.broker_audit import runners_of
from tests.functions.broker.broker_service import (
    ACCOUNTS,
    AUDIENCE,
    LISTENER_BUCKET,
    POSTSUBMIT_JOBS,
    PRESUBMIT_JOBS,
    ROOT,
    BrokerService,
    table,
)
from tests.functions.broker.test_broker_demand import document

CASES = int(os.environ.get("RUNNER_FLEET_FUZZ_CASES", "300"))
DOCUMENT: dict[str, Any] = YAML(typ="safe").load((ROOT / "docs/openapi/registration-broker.yaml").read_text())


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = DOCUMENT
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def response(path: str, method: str, status: int) -> dict[str, Any]:
    """What the document says about a status; it must say something."""
    everywhere = DOCUMENT["x-everywhere"]
    operation = DOCUMENT["paths"].get(path, {}).get(method.lower())
    found = operation["responses"].get(str(status)) if operation else everywhere.get(str(status))
    assert found is not None, f"{method} {path}: {status} is not documented"
    return resolved(found)


def check(path: str, method: str, status: int, headers: Any, raw: bytes) -> str:
    """Whether a reply is as documented; its error code."""
    described = response(path, method, status)
    assert headers["Content-Type"] == "application/json"
    for name, header in described.get("headers", {}).items():
        assert name in headers, f"{status} without {name}"
        schema = resolved(header)["schema"]
        value = int(headers[name]) if schema.get("type") == "integer" else headers[name]
        jsonschema_rs.Draft202012Validator(schema).validate(value)
    if method == "HEAD":
        assert raw == b""
        return ""
    schema = described["content"]["application/json"]["schema"]
    body = json.loads(raw)
    jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(body)
    return body.get("error", "")


def documented_codes() -> set[str]:
    def codes(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = set(value["error"]["enum"]) if "enum" in value.get("error", {}) else set()
            return own.union(*map(codes, value.values()))
        return set().union(*map(codes, value)) if isinstance(value, list) else set()

    return codes(DOCUMENT)


def test_the_document_is_openapi_and_has_all_operations():
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operations: list[Any] = [operation.ok() for operation in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]
    found = {(operation.method.upper(), operation.path) for operation in operations}
    assert found == {(method, path) for path, method in decide.METHODS.items()}


def test_the_document_has_every_error_code_of_the_function_and_no_other():
    import re

    source = "".join((ROOT / "functions/registration_broker/broker" / name).read_text()
                     for name in ("identity.py", "decide.py", "app.py"))  # fmt: skip
    raised = set(re.findall(r'RefusedError\(\s*\d+,\s*"(\w+)"', source))
    assert len(raised) > 20
    assert documented_codes() == raised | MESSAGES.keys()


def test_the_document_states_the_functions_limits():
    text = (ROOT / "docs/openapi/registration-broker.yaml").read_text()
    assert f"{decide.MOST_BODY_BYTES:,} bytes" in text
    limit = DOCUMENT["components"]["schemas"]["Configuration"]["properties"]["jit_config"]["maxLength"]
    assert limit == decide.MOST_CONFIG_CHARACTERS


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


def mostly(usual: st.SearchStrategy, unusual: st.SearchStrategy) -> st.SearchStrategy:
    """The usual nine times of ten: who is refused at the door tests nothing behind it."""
    return st.integers(0, 9).flatmap(lambda number: unusual if number == 9 else usual)


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
PATHS = mostly(
    st.sampled_from(["/jit", "/jit", "/deregister", "/demand"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#%/\\"), max_size=12).map(
        "/{}".format
    ),
)
CALLS = PATHS.flatmap(lambda path: st.tuples(mostly(st.just(decide.METHODS.get(path, "POST")), METHODS), st.just(path)))
BODIES = mostly(
    st.just(b""),
    st.sampled_from([b"{}", b" { } "])
    | st.binary(max_size=40)
    | st.integers(0, 3000).map(lambda n: b"[" * n)
    | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3).map(
        lambda value: json.dumps(value).encode()
    ),
)
TYPES = mostly(
    st.just("application/json"),
    st.sampled_from([None, "", "application/JSON;charset=utf-8", "text/plain", "multipart/form-data"]),
)
SPOILED = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "email", "email_verified", "google", "project_id", "zone",
                     "instance_id", "instance_name", "project_number", "sub", "jti", "audience", "key", "kid", "alg"]),
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.lists(st.integers(), max_size=2),
    min_size=1, max_size=2,
)  # fmt: skip
SPOILS = mostly(st.just({}), SPOILED)
ROUTES = ["certs.keys", "metadata.token", "metadata.value", "compute.instance", "compute.managed_instances",
          "secrets.access", "storage.insert",
          "storage.get", "storage.delete", "github.access_token", "github.runner_groups", "github.jit",
          "github.runners", "github.remove_runner",
          *(f"github.scale_sets.{name}" for name in ("registration_token", "register", "runner_group", "find", "jit",
                                                     "runners", "remove_runner"))]  # fmt: skip
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(ROUTES),
        st.sampled_from(["status", "reset", "garbage"]),
        st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503]),
        st.booleans(),
        st.sampled_from([1, 2, 1000]),
        st.sampled_from([None, None, 0, 3, 700]),
    ),
    min_size=1,
    max_size=3,
)
GROUPS = st.sampled_from([*ACCOUNTS, PRESUBMIT_JOBS, POSTSUBMIT_JOBS])
TARGETS = st.sampled_from(["RUNNING", "RUNNING", "SUSPENDED", "STOPPED"])
"""What a VM's group means it to become; one group alone keeps a reserve."""
DEMANDS = (
    st.none()
    | st.just({})
    | st.dictionaries(
        st.sampled_from(sorted(document())), st.none() | st.integers() | TEXT | st.lists(TEXT, max_size=2), max_size=2
    )
)
"""What the listener wrote of the pool: nothing, or what it should with some of it changed."""
AUTHORIZATIONS = mostly(st.just("token"), st.none() | TEXT | TEXT.map("Bearer {}".format))


def spoiled_token(service: BrokerService, vm: Any, spoils: dict[str, Any]) -> str:
    """A VM's token with parts spoiled, as far as one can be made of them."""
    given = {name: value for name, value in spoils.items() if name not in {"audience", "key", "kid", "alg"}}
    if isinstance(spoils.get("key"), str):
        given["key"] = "mallory"
    if isinstance(spoils.get("kid"), str):
        given["kid"] = spoils["kid"]
    if "alg" in spoils:
        given["alg"] = "none" if spoils["alg"] else "HS256"
    audience = spoils["audience"] if isinstance(spoils.get("audience"), str) else AUDIENCE
    return service.site.google.identity_token(vm, audience, **given)


def arrange(service: BrokerService, row: dict[str, Any], demand: dict[str, Any] | None, *, missing: bool) -> None:
    """Whether the group's scale set is there, if it has one, and what the listener said of its pool."""
    github, google = service.site.github, service.site.google
    there = github.scale_sets.by_name(row["scale_set"])
    if missing and there is not None:
        github.delete_scale_set(row["scale_set"])
    if not missing and there is None and row["scale_set"]:
        github.add_scale_set(row["scale_set"], group=row["runner_group"], labels=row["labels"])
    google.objects.pop((LISTENER_BUCKET, f"pools/{row['pool']}.json"), None)
    if demand is not None:
        said = document(service.site.clock.now(), **{"pool": row["pool"], **demand})
        google.put_object(LISTENER_BUCKET, f"pools/{row['pool']}.json", json.dumps(said).encode())


def test_every_reply_is_as_documented_whatever_is_sent_and_whatever_fails(tmp_path):
    statuses: Counter[str] = Counter()
    with BrokerService(tmp_path) as service:
        client = service.app.test_client()
        rows = table()
        rows["groups"][POSTSUBMIT_JOBS]["standby"] = 2
        service.write_table(rows)
        service.renew()

        @settings(max_examples=CASES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
        @given(
            st.tuples(CALLS, BODIES, TYPES),
            st.tuples(AUTHORIZATIONS, SPOILS),
            st.booleans().flatmap(lambda fails: FAULTS if fails else st.just([])),
            st.tuples(GROUPS, mostly(st.just(30), st.just(700)), TARGETS, st.booleans(), st.booleans(), DEMANDS),
            st.integers(0, 3),
        )
        def one(request, identity, faults, machine, cold):
            ((method, path), body, kind), (authorization, spoils) = request, identity
            group, age_seconds, target, before, missing, demand = machine
            if cold == 0:
                service.renew()
            service.calm()
            service.lines.clear()
            service.site.github.rate_limit.spent.clear()
            service.site.github.rate_limit.used = 0
            vm = service.vm(group, age_seconds=age_seconds)
            vm.target_status = target
            if before:
                service.jit(vm)
            arrange(service, table()["groups"][group], demand, missing=missing)
            for route, fault, status, after, times, retry_after in faults:
                service.site.faults.script(
                    route, fault, status=status, after=after, times=times, retry_after=retry_after
                )
            headers = {} if kind is None else {"Content-Type": kind}
            if authorization == "token":
                headers["Authorization"] = f"Bearer {spoiled_token(service, vm, spoils)}"
            elif authorization is not None:
                headers["Authorization"] = authorization
            reply = client.open(path, method=method, data=body, headers=headers)
            service.site.faults.clear()
            if path in {"/robots.txt", "/favicon.ico"}:
                return
            error = check(path, method, reply.status_code, reply.headers, reply.data)
            statuses[f"{reply.status_code} {error or path}"] += 1
            assert error != "internal", service.lines[-1]
            assert len(runners_of(service, vm)) <= 1
            assert not [secret for secret in service.secrets()[:5] if secret in service.log_text()]

        one()
    print(f"{sum(statuses.values())} requests: {dict(sorted(statuses.items()))}")  # noqa: T201 - the figures of the claim
    assert all(statuses[f"200 {path}"] for path in decide.METHODS)
    assert statuses["425 standby"]
    assert sum(number for status, number in statuses.items() if status.startswith("50")), "no fault was ever felt"


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico"])
def test_two_paths_are_the_frameworks_own(service, path):
    assert service.send("GET", path).status == 404
