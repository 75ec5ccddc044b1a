"""The stand-ins for metadata servers, key set and access tokens: who somebody is, and what that lets them do."""

from __future__ import annotations

import google.auth.exceptions
import google.auth.transport.requests
import jwt
import pytest
import requests
from google.api_core import retry
from google.oauth2 import id_token

PROJECT = "/compute/v1/projects/iree-oss"
GROUP = f"{PROJECT}/regions/us-west1/instanceGroupManagers/presubmit-cpu"
OBJECTS = "/storage/v1/b/grants/o"
AT_ONCE = retry.Retry(initial=0.001, maximum=0.01, timeout=10)
"""How often a client library looks at an operation."""


def managed(google):
    return google.ask("POST", f"{GROUP}/listManagedInstances").json().get("managedInstances", [])


def reference(vm):
    return f"zones/{vm.zone}/instances/{vm.name}"


def delete(google, *references, **changes):
    return google.ask("POST", f"{GROUP}/deleteInstances", json={"instances": list(references), **changes})


def end_of(google, operation):
    path = f"{PROJECT}/regions/us-west1/operations/{operation.json()['name']}"
    return google.ask("POST", f"{path}/wait").json()


def upload(google, name, data=b"{}", **query):
    return google.ask("POST", f"/upload{OBJECTS}", params={"uploadType": "media", "name": name, **query}, data=data)


# The metadata server


def test_every_vm_has_a_metadata_server_of_its_own(site, group, vm, metadata):
    other = site.google.create_instance(group)
    for each in (vm, other):
        host = site.metadata_host_of(each)
        assert metadata(host, "instance/id").text == each.id
        assert metadata(host, "instance/name").text == each.name
        assert metadata(host, "instance/zone").text == f"projects/123456789012/zones/{each.zone}"
        assert metadata(host, "project/project-id").text == "iree-oss"
        assert metadata(host, "instance/attributes/created-by").text == group.created_by
        assert metadata(host, "instance/preempted").text == "FALSE"
        assert site.metadata_host_of(each) == host


def test_metadata_wants_its_header_and_no_proxy(site, vm):
    url = f"http://{site.metadata_host_of(vm)}/computeMetadata/v1/instance/id"
    assert requests.get(url, timeout=5).status_code == 403
    forwarded = {"Metadata-Flavor": "Google", "X-Forwarded-For": "10.0.0.1"}
    assert requests.get(url, headers=forwarded, timeout=5).status_code == 403


def test_what_a_vm_does_not_have_is_not_found(site, vm, metadata):
    host = site.metadata_host_of(vm)
    assert metadata(host, "instance/attributes/nothing").status_code == 404
    assert metadata(host, "instance/service-accounts/else@p.iam.gserviceaccount.com/token").status_code == 404
    assert metadata(site.metadata_host, "instance/id").status_code == 404


def test_attributes_are_listed_by_line_or_as_json(site, vm, metadata):
    host = site.metadata_host_of(vm)
    vm.metadata["runner-broker-url"] = "https://broker"
    assert "runner-broker-url" in metadata(host, "instance/attributes/").text.splitlines()
    assert metadata(host, "instance/attributes/", recursive="true").json() == vm.metadata


def test_waiting_for_a_change_ends_when_the_value_does(site, vm, metadata, when_asked):
    host = site.metadata_host_of(vm)
    before = metadata(host, "instance/preempted").headers["etag"]
    when_asked("metadata.value", lambda: site.google.preempt(vm), times=2)
    after = metadata(host, "instance/preempted", wait_for_change="true", last_etag=before)
    assert after.text == "TRUE"
    assert after.headers["etag"] != before


def test_waiting_ends_at_once_for_an_old_etag_and_at_its_timeout(site, vm, metadata, when_asked):
    host = site.metadata_host_of(vm)
    assert metadata(host, "instance/preempted", wait_for_change="true", last_etag="old").text == "FALSE"
    when_asked("metadata.value", lambda: site.clock.advance(60), times=2)
    assert metadata(host, "instance/preempted", wait_for_change="true", timeout_sec="60").text == "FALSE"


def test_a_token_stays_the_same_until_it_is_nearly_over(site, vm, metadata):
    host, key = site.metadata_host_of(vm), "instance/service-accounts/default/token"
    first = metadata(host, key).json()
    assert first["expires_in"] == 3600
    assert metadata(host, key).json()["access_token"] == first["access_token"]
    site.clock.advance(3301)
    assert metadata(host, key).json()["access_token"] != first["access_token"]


# Identity


@pytest.fixture
def keys(site):
    return requests.get(site.certs_url, timeout=5).json()["keys"]


def decode(token, keys, audience="https://broker"):
    kid = jwt.get_unverified_header(token)["kid"]
    key = next(jwt.PyJWK(key).key for key in keys if key["kid"] == kid)
    return jwt.decode(token, key, algorithms=["RS256"], audience=audience, issuer="https://accounts.google.com")


def identity(metadata, host, **query):
    key = "instance/service-accounts/default/identity"
    return metadata(host, key, **{"audience": "https://broker", "format": "full", **query})


def test_a_vm_s_identity_names_it(site, vm, metadata, keys):
    claims = decode(identity(metadata, site.metadata_host_of(vm)).text, keys)
    assert claims["email"] == vm.service_account
    assert claims["email_verified"] is True
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["google"]["compute_engine"] == {
        "project_id": "iree-oss",
        "project_number": 123456789012,
        "zone": vm.zone,
        "instance_id": vm.id,
        "instance_name": vm.name,
        "instance_creation_timestamp": int(vm.created),
        "instance_confidentiality": 0,
    }


def test_the_standard_format_and_functions_name_no_vm(site, vm, metadata, keys):
    assert "google" not in decode(identity(metadata, site.metadata_host_of(vm), format="standard").text, keys)
    assert "google" not in decode(identity(metadata, site.metadata_host).text, keys)
    assert identity(metadata, site.metadata_host, audience="").status_code == 400


def test_google_auth_verifies_an_identity_by_the_key_set(site, vm, metadata):
    token = identity(metadata, site.metadata_host_of(vm)).text
    ask = google.auth.transport.requests.Request()
    claims = id_token.verify_token(token, ask, audience="https://broker", certs_url=site.certs_url)
    assert claims["google"]["compute_engine"]["instance_id"] == vm.id
    stolen = site.google.identity_token(vm, "https://broker", key="somebody", kid=site.google.keys.current.kid)
    with pytest.raises((ValueError, google.auth.exceptions.GoogleAuthError, jwt.InvalidSignatureError)):
        id_token.verify_token(stolen, ask, audience="https://broker", certs_url=site.certs_url)


def test_any_part_of_an_identity_can_be_spoiled(site, vm, keys):
    def claims(**overrides):
        token = site.google.identity_token(vm, "https://broker", **overrides)
        return jwt.decode(token, options={"verify_signature": False})

    assert claims(exp=5)["exp"] == 5
    assert claims(instance_id="1")["google"]["compute_engine"]["instance_id"] == "1"
    assert "instance_id" not in claims(instance_id=None)["google"]["compute_engine"]
    assert "google" not in claims(google=None)
    assert "email" not in claims(claims={"email": None})
    assert claims(aud="https://else")["aud"] == "https://else"
    for alg, key in (("HS256", ""), ("none", ""), ("RS256", "somebody")):
        token = site.google.identity_token(vm, "https://broker", alg=alg, key=key)
        assert jwt.get_unverified_header(token)["alg"] == alg
        with pytest.raises((jwt.InvalidTokenError, StopIteration)):
            decode(token, keys)
    with pytest.raises(ValueError, match="nothing here signs with 'ES256'"):
        site.google.identity_token(vm, "https://broker", alg="ES256")


def test_keys_rotate_and_the_one_before_stays_for_a_while(site, vm, keys):
    old = site.google.identity_token(vm, "https://broker")
    site.google.keys.rotate()
    new = site.google.identity_token(vm, "https://broker")
    with pytest.raises(StopIteration):
        decode(new, keys)
    answer = requests.get(site.certs_url, timeout=5)
    assert answer.headers["cache-control"].startswith("public, max-age=")
    both = answer.json()["keys"]
    assert decode(old, both)
    assert decode(new, both)
    site.google.keys.rotate(keep=0)
    with pytest.raises(StopIteration):
        decode(new, requests.get(site.certs_url, timeout=5).json()["keys"])


# Tokens and rights


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PROJECT}/zones/us-west1-a/instances/x", "UNAUTHENTICATED"),
        (f"{OBJECTS}/x", None),
        ("/v1/projects/iree-oss/secrets/s/versions/latest:access", "UNAUTHENTICATED"),
    ],
)
def test_nothing_is_told_without_a_good_token(site, google, anybody, path, status):
    for caller, token in ((anybody, ""), (anybody, "ya29.guessed"), (google, google.token)):
        caller.token = token
        if caller is google:
            site.clock.advance(3600)
        answer = caller.ask("GET", path)
        assert answer.status_code == answer.json()["error"]["code"] == 401
        assert answer.json()["error"].get("status") == status
        assert "Bearer" in answer.headers["www-authenticate"]


def test_a_right_can_be_taken_from_one_account(site, vm, google, anybody, metadata):
    path = f"{PROJECT}/zones/{vm.zone}/instances/{vm.name}"
    site.google.deny("compute.instance", vm.service_account)
    token = metadata(site.metadata_host_of(vm), "instance/service-accounts/default/token").json()["access_token"]
    anybody.token = token
    assert anybody.ask("GET", path).status_code == 403
    assert google.ask("GET", path).status_code == 200
    site.google.deny("compute.instance")
    assert google.ask("GET", path).json()["error"]["errors"][0]["reason"] == "forbidden"
    site.google.allow("compute.instance")
    assert google.ask("GET", path).status_code == 200


def test_functions_can_have_accounts_of_their_own(site, metadata):
    host = site.metadata_host_for("deleter@iree-oss.iam.gserviceaccount.com")
    account = metadata(host, "instance/service-accounts/default/email").text
    assert account == "deleter@iree-oss.iam.gserviceaccount.com"
    assert metadata(site.metadata_host, "instance/service-accounts/default/email").text == site.google.function_account
