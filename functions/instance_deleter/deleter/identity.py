"""Who calls: a Compute Engine identity token, and what it proves about the VM that sent it.

Two halves. `Verifier` checks the signature and the token's own claims, with keys that Google publishes. `verdict` then
judges the caller against the instance as Compute Engine has it now, and against the fleet's table. A token alone is not
enough: it stays valid for an hour after its VM was deleted, and the name of a VM is used again.

Nothing is taken from the request but the token, and nothing of a token is repeated in an error. Form of the token:
https://cloud.google.com/compute/docs/instances/verifying-instance-identity, read 2026-11-22.

Both functions hold this file byte by byte: shared by contract, not by import.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from .fleet_table import Fleet, Group

LEEWAY_SECONDS: Final = 120
"""How far the clocks of Google, the VM and this function may be apart."""

ISSUERS: Final = frozenset({"https://accounts.google.com", "accounts.google.com"})

MOST_TOKEN_CHARACTERS: Final = 8192
"""A token of a VM has some 1,200 characters."""

KEYS_FRESH_SECONDS: Final = 3600
KEYS_PAUSE_SECONDS: Final = 60
"""Keys are fetched at most this often, whatever key ids callers invent."""
KEYS_FIRST_PAUSE_SECONDS: Final = 2
"""The same while there are none at all: callers that wait for one failed fetch share it."""
KEYS_STALE_SECONDS: Final = 86400
"""How long known keys serve while Google's list cannot be fetched."""

_LEAST_KEY_BITS: Final = 2048
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_ZONE: Final = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z0-9]{1,8}")
_INSTANCE_NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_INSTANCE_ID: Final = re.compile(r"[1-9][0-9]{0,19}")
_CREATED_BY: Final = re.compile(r"projects/([^/]+)/regions/([^/]+)/instanceGroupManagers/([^/]+)")


class RefusedError(Exception):
    """The caller gets nothing. `status` is HTTP's, `code` is stable and for machines, `message` is one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class KeysUnavailableError(Exception):
    """No token can be judged now: there is no key list, and none can be fetched. It says nothing about the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a token with a good signature claims. Whether such a VM exists is for `verdict` to say."""

    instance_id: str
    name: str
    zone: str
    project_number: str
    """Digits; empty where the token has none."""
    email: str

    @property
    def region(self) -> str:
        """The zone's region."""
        return self.zone.rpartition("-")[0]


def read_claims(claims: Mapping[str, Any], *, audience: str, project: str, now: float) -> Caller:
    """The caller of verified claims; `now` in seconds since 1970. Raises RefusedError."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer not in ISSUERS:
        raise RefusedError(401, "issuer_wrong", "The token was not issued by Google's accounts service.")
    if claims.get("aud") != audience:
        raise RefusedError(401, "audience_wrong", "The token was made for another service.")
    issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    if issued is None or expires is None:
        raise RefusedError(401, "claims_missing", "The token does not say when it was issued and when it expires.")
    if now >= expires + LEEWAY_SECONDS:
        raise RefusedError(401, "token_expired", "The token has expired.")
    starts = max(issued, _seconds(claims, "nbf") or issued)
    if starts > now + LEEWAY_SECONDS:
        raise RefusedError(401, "token_early", "The token is from the future.")
    return _caller(claims, project)


def _caller(claims: Mapping[str, Any], project: str) -> Caller:
    google = _object(_object(claims.get("google")).get("compute_engine"))
    email = claims.get("email")
    if not google or not isinstance(email, str) or not email or claims.get("email_verified") is not True:
        raise RefusedError(401, "claims_missing", "The token names no instance; ask for it with format=full.")
    if google.get("project_id") != project:
        raise RefusedError(403, "project_wrong", "The instance belongs to another project.")
    name, zone, instance_id = google.get("instance_name"), google.get("zone"), google.get("instance_id")
    if not (_is(name, _INSTANCE_NAME) and _is(zone, _ZONE) and _is(instance_id, _INSTANCE_ID)):
        raise RefusedError(401, "claims_missing", "The token's instance name, zone or id has no valid form.")
    number = google.get("project_number")
    return Caller(
        instance_id=cast("str", instance_id),
        name=cast("str", name),
        zone=cast("str", zone),
        project_number=str(number) if isinstance(number, int) and not isinstance(number, bool) else "",
        email=email,
    )


def verdict(
    caller: Caller,
    instance: Mapping[str, Any] | None,
    fleet: Fleet,
    *,
    statuses: Collection[str] = frozenset({"RUNNING"}),
) -> Group:
    """The group of a caller that is what it claims. `instance` is Compute Engine's answer, None where it has none.

    Raises RefusedError. It does not judge the instance's age: that is the broker's own matter.
    """
    if instance is None:
        raise RefusedError(403, "instance_gone", "There is no such instance any more.")
    if str(instance.get("id")) != caller.instance_id or instance.get("name") != caller.name:
        raise RefusedError(403, "instance_reused", "The instance of this name is another one now.")
    group = _group(caller, instance, fleet)
    accounts = _objects(instance.get("serviceAccounts"))
    if len(accounts) != 1 or not (accounts[0].get("email") == caller.email == group.service_account):
        raise RefusedError(403, "account_wrong", "The instance does not run as its group's service account.")
    if str(instance.get("status")) not in statuses:
        raise RefusedError(403, "not_running", "The instance is not running.")
    return group


def _group(caller: Caller, instance: Mapping[str, Any], fleet: Fleet) -> Group:
    items = _objects(_object(instance.get("metadata")).get("items"))
    makers = [item.get("value") for item in items if item.get("key") == "created-by"]
    match = _CREATED_BY.fullmatch(makers[0]) if len(makers) == 1 and isinstance(makers[0], str) else None
    if match is None:
        raise RefusedError(403, "not_in_a_group", "No regional group made this instance.")
    project, region, name = match.groups()
    group = fleet.groups.get(name)
    ours = project == fleet.project or (project == caller.project_number != "")
    if group is None or not ours or not (region == group.region == caller.region):
        raise RefusedError(403, "group_unknown", "The instance's group is not one of this fleet.")
    return group


class Keys:
    """Google's signing keys by key id, from its JWK set. For many threads.

    A set is kept for KEYS_FRESH_SECONDS. For a key id that it lacks it is fetched again, but never twice within
    KEYS_PAUSE_SECONDS. While it cannot be fetched the last one serves, up to KEYS_STALE_SECONDS.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        """`fetch` returns the parsed set, and raises KeysUnavailableError where it cannot."""
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched: float | None = None
        self._tried: float | None = None

    def get(self, key_id: str) -> RSAPublicKey | None:
        """The key, or None where Google has none of that id. Raises KeysUnavailableError."""
        with self._lock:
            age = self._age(self._fetched)
            if age >= KEYS_FRESH_SECONDS or (key_id not in self._keys and age >= KEYS_PAUSE_SECONDS):
                self._refresh()
            if self._age(self._fetched) >= KEYS_STALE_SECONDS:
                raise KeysUnavailableError("there are no keys, or none that are fresh enough")
            return self._keys.get(key_id)

    def _refresh(self) -> None:
        # With no keys at all the long pause would turn one failed fetch into a minute of refusals.
        if self._age(self._tried) < (KEYS_PAUSE_SECONDS if self._keys else KEYS_FIRST_PAUSE_SECONDS):
            return
        try:
            keys = _usable(self._fetch())
        except KeysUnavailableError:
            return
        finally:
            self._tried = self._clock()
        if keys:
            self._keys, self._fetched = keys, self._tried

    def _age(self, since: float | None) -> float:
        return float("inf") if since is None else self._clock() - since


class Verifier:
    """Checks tokens: their form, algorithm, signature and claims."""

    def __init__(self, keys: Keys, *, audience: str, project: str, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._audience = audience
        self._project = project
        self._now = now

    def caller(self, authorization: str | None) -> Caller:
        """Who an Authorization header proves the caller to be. Raises RefusedError and KeysUnavailableError."""
        token = bearer(authorization)
        key = self._keys.get(_key_id(token))
        if key is None:
            raise RefusedError(401, "signature_wrong", "No key of Google's has signed this token.")
        try:
            # The claims are judged by read_claims, by a clock that tests can set.
            checks: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], options=checks)
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            raise RefusedError(401, "signature_wrong", "No key of Google's has signed this token.") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise RefusedError(401, "token_malformed", "The token is not a signed JSON web token.") from None
        return read_claims(claims, audience=self._audience, project=self._project, now=self._now())


def bearer(authorization: str | None) -> str:
    """The token of an Authorization header. Raises RefusedError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise RefusedError(401, "token_missing", "Send the instance's identity token as Authorization: Bearer.")
    if len(token) > MOST_TOKEN_CHARACTERS or not _FORM.fullmatch(token):
        raise RefusedError(401, "token_malformed", "The token is not a signed JSON web token.")
    return token


def _key_id(token: str) -> str:
    """The key id that an unverified header names, if it names RS256, too: what else it says counts for nothing."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise RefusedError(401, "token_malformed", "The token is not a signed JSON web token.") from None
    if header.get("alg") != "RS256":
        raise RefusedError(401, "algorithm_wrong", "The token is not signed with RS256.")
    key_id: Any = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise RefusedError(401, "signature_wrong", "The token does not name the key that signed it.")
    return key_id


def _usable(key_set: Mapping[str, Any]) -> dict[str, RSAPublicKey]:
    """The RSA signing keys of a JWK set; others are left out."""
    keys: dict[str, RSAPublicKey] = {}
    for entry in _objects(key_set.get("keys")):
        key_id = entry.get("kid")
        if not isinstance(key_id, str) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
            continue
        if entry.get("alg", "RS256") != "RS256" or "d" in entry:
            continue
        try:
            key = jwt.PyJWK.from_dict(entry, algorithm="RS256").key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_KEY_BITS:
            keys[key_id] = key
    return keys


def _seconds(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 53 else None


def _is(value: Any, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [_object(entry) for entry in cast("list[Any]", value)] if isinstance(value, list) else []
