"""Google's signing keys, and the identity tokens of VMs signed with them.

Payload and key set have the form of https://docs.cloud.google.com/compute/docs/instances/verifying-instance-identity
(token format `full`) and https://www.googleapis.com/oauth2/v3/certs, as known in November 2026. A test can spoil any
part of a token: the real metadata server never would, an attacker does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER: Final = "https://accounts.google.com"
LIFETIME_SECONDS: Final = 3600
"""Of an identity token, as documented."""


def base64url(data: bytes) -> str:
    """Without padding, as in a JWT."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class SigningKey:
    """An RSA key with its id."""

    def __init__(self, name: str) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()

    @property
    def private_pem(self) -> str:
        """PKCS#1, as GitHub hands out the keys of its Apps."""
        kind, how = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
        return self._private.private_bytes(kind, how, serialization.NoEncryption()).decode()

    @property
    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo."""
        how = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._private.public_key().public_bytes(serialization.Encoding.PEM, how)

    @property
    def jwk(self) -> dict[str, str]:
        """The public half, as a member of a JWK set."""
        numbers = self._private.public_key().public_numbers()
        n, e = (base64url(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.n, numbers.e))
        return {"use": "sig", "kty": "RSA", "alg": "RS256", "kid": self.kid, "n": n, "e": e}

    def sign(self, data: bytes) -> bytes:
        """RS256."""
        return self._private.sign(data, padding.PKCS1v15(), hashes.SHA256())


@lru_cache(maxsize=64)
def signing_key(name: str) -> SigningKey:
    """The key of that name; made once in a process, for making one takes a tenth of a second."""
    return SigningKey(name)


def encode(claims: Mapping[str, Any], key: SigningKey, *, alg: str = "RS256", kid: str | None = None) -> str:
    """A JWT. HS256 is keyed with the PEM of the public key, the classic confusion; `none` has no signature."""
    header = {"alg": alg, "kid": key.kid if kid is None else kid, "typ": "JWT"}
    signed = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    match alg:
        case "RS256":
            signature = key.sign(signed.encode())
        case "HS256":
            signature = hmac.digest(key.public_pem, signed.encode(), "sha256")
        case "none":
            signature = b""
        case _:
            raise ValueError(f"nothing here signs with {alg!r}; there are RS256, HS256, none")
    return f"{signed}.{base64url(signature)}"


class KeySet:
    """The keys that Google publishes. The last signs."""

    def __init__(self) -> None:
        self._number = 1
        self.keys = [signing_key("google-1")]

    @property
    def current(self) -> SigningKey:
        """What signs new tokens."""
        return self.keys[-1]

    def rotate(self, *, keep: int = 1) -> SigningKey:
        """Sign with a new key from now on; of the older ones `keep` stay published."""
        self._number += 1
        self.keys = [*self.keys[max(len(self.keys) - keep, 0) :], signing_key(f"google-{self._number}")]
        return self.current

    @property
    def document(self) -> dict[str, Any]:
        """The JWK set."""
        return {"keys": [key.jwk for key in self.keys]}
