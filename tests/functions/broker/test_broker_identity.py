"""Google's keys as the broker keeps them, and claims of every shape."""

from __future__ import annotations

from typing import Any

import pytest
from broker import identity
from broker.identity import Keys, KeysUnavailableError, RefusedError, read_claims
from hypothesis import given
from hypothesis import strategies as st

from emulators.clock import Clock
from emulators.identity import KeySet, signing_key


class Published:
    """Google's list, which can be out of reach."""

    def __init__(self) -> None:
        self.clock = Clock(0)
        self.set = KeySet()
        self.document: dict[str, Any] | None = None
        self.reachable = True
        self.asked = 0
        self.keys = Keys(self.fetch, self.clock.now)

    def fetch(self) -> dict[str, Any]:
        self.asked += 1
        if not self.reachable:
            raise KeysUnavailableError("out of reach")
        return self.set.document if self.document is None else self.document

    def has(self, key_id: str) -> bool:
        return self.keys.get(key_id) is not None


def test_keys_are_fetched_once_and_again_after_an_hour():
    google = Published()
    for _ in range(5):
        assert google.has(google.set.current.kid)
    google.clock.advance(identity.KEYS_FRESH_SECONDS)
    assert google.has(google.set.current.kid)
    assert google.asked == 2


def test_an_unknown_key_id_fetches_at_most_once_a_minute():
    google = Published()
    google.has("x")
    for seconds in (0, 59.0, 0, 2, 0, 0):
        google.clock.advance(seconds)
        assert not google.has("y")
    assert google.asked == 2


def test_known_keys_serve_for_a_day_while_google_is_out_of_reach_and_it_is_not_asked_all_the_time():
    google = Published()
    known = google.set.current.kid
    assert google.has(known)
    google.reachable = False
    google.clock.advance(identity.KEYS_FRESH_SECONDS + 1)
    for _ in range(10):
        assert google.has(known)
    assert google.asked == 2
    google.clock.advance(identity.KEYS_STALE_SECONDS)
    with pytest.raises(KeysUnavailableError):
        google.has(known)


def test_without_any_key_a_failed_fetch_is_shared_for_a_moment_and_then_repeated():
    google = Published()
    google.reachable = False
    for _ in range(10):
        with pytest.raises(KeysUnavailableError):
            google.has("x")
    assert google.asked == 1
    google.reachable = True
    google.clock.advance(identity.KEYS_FIRST_PAUSE_SECONDS)
    assert google.has(google.set.current.kid)


def test_keys_that_may_not_sign_tokens_are_left_out():
    google = Published()
    jwk = signing_key("google-1").jwk
    spoiled = {"use": "enc", "kty": "EC", "alg": "RS512", "n": "AQAB", "e": "!", "d": "AQAB"}
    google.document = {
        "keys": [{**jwk, name: value, "kid": name} for name, value in spoiled.items()] + [7, None, {}, jwk]
    }
    assert [name for name in spoiled if google.has(name)] == []
    assert google.has(jwk["kid"])


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": []}, {"keys": [[]]}])
def test_a_list_without_keys_is_none(document):
    google = Published()
    google.document = document
    with pytest.raises(KeysUnavailableError):
        google.has("x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)
GOOD: dict[str, Any] = {"iss": "accounts.google.com", "aud": "me", "iat": 1000, "exp": 4600, "email": "x@y",
                        "email_verified": True}  # fmt: skip
ENGINE = {"project_id": "p", "project_number": 1, "zone": "us-west1-a", "instance_id": "42", "instance_name": "a-vm"}


def code(claims: dict[str, Any], now: float) -> str:
    """The error code of claims; empty where they pass."""
    try:
        caller = read_claims(claims, audience="me", project="p", now=now)
    except RefusedError as error:
        return error.code
    return "" if caller.zone.startswith(f"{caller.region}-") else "region"


@given(
    st.dictionaries(st.sampled_from([*GOOD, "nbf", "google"]), JSON, max_size=2),
    st.dictionaries(st.sampled_from([*ENGINE]), JSON, max_size=2),
)
def test_claims_of_any_shape_are_judged_and_only_sound_ones_pass(spoiled, engine):
    claims = {**GOOD, "google": {"compute_engine": {**ENGINE, **engine}}, **spoiled}
    if not code(claims, 2000):
        assert claims["aud"] == "me"
        assert claims["email_verified"] is True


@pytest.mark.parametrize(
    ("now", "expected"),
    [(880, ""), (879.9, "token_early"), (4719.9, ""), (4720, "token_expired")],
)
def test_the_leeway_is_two_minutes_to_the_second(now, expected):
    assert code({**GOOD, "google": {"compute_engine": ENGINE}}, now) == expected
