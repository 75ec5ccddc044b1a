"""GitHub App authentication: the App's own JWT, and the installation tokens that it buys.

Rules: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app (November 2026): RS256,
`iss` the App's id or client id, `exp` at most ten minutes ahead, `iat` not ahead, tokens for an hour. That the second
of two identical JWTs within one second gets 404 was seen in github-aws-runners/terraform-aws-github-runner#5056.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Any, Final

import jwt

from emulators.clock import rfc3339
from emulators.github.reply import refuse
from emulators.identity import signing_key
from emulators.route import Call

JWT_SECONDS: Final = 600
TOKEN_SECONDS: Final = 3600
SAME_SECONDS: Final = 1


@dataclass(frozen=True, kw_only=True)
class InstallationToken:
    """One that was handed out."""

    token: str
    expires: float


class App:
    """The GitHub App and its one installation."""

    def __init__(self, *, seed: int) -> None:
        self.id = 1234
        self.client_id = "Iv23liEmulated0000"
        self.installation_id = 5678
        self.permissions = {"organization_self_hosted_runners": "write", "metadata": "read"}
        self.key = signing_key("github-app")
        self.personal_tokens: set[str] = set()
        """Classic tokens of a person who may do everything."""
        self.tokens: dict[str, InstallationToken] = {}
        self._seen: dict[str, float] = {}
        self._random = random.Random(f"{seed}/tokens")  # noqa: S311 - to be repeated, not secret

    def issue(self, call: Call, now: float) -> InstallationToken:
        """A new installation token for a good JWT. Raises Refusal."""
        assertion = call.bearer
        self._check(assertion, now)
        before = self._seen.get(assertion)
        self._seen[assertion] = now
        if before is not None and now - before < SAME_SECONDS:
            raise refuse(404, "Not Found")
        if call.parameters["installation"] != str(self.installation_id):
            raise refuse(404, "Not Found")
        letters = "".join(self._random.choices(string.ascii_letters + string.digits, k=36))
        token = InstallationToken(token=f"ghs_{letters}", expires=float(int(now) + TOKEN_SECONDS))
        self.tokens[token.token] = token
        return token

    def document(self, token: InstallationToken) -> dict[str, Any]:
        """The token as the REST API shows it."""
        expires = rfc3339(token.expires).replace(".000Z", "Z")
        selection = {"permissions": self.permissions, "repository_selection": "all"}
        return {"token": token.token, "expires_at": expires, **selection}

    def check_token(self, call: Call, now: float, permission: str = "organization_self_hosted_runners") -> None:
        """Whether a call has a good installation token with that permission, or a person's. Raises Refusal."""
        if not call.bearer:
            raise refuse(401, "Requires authentication")
        if call.bearer in self.personal_tokens:
            return
        token = self.tokens.get(call.bearer)
        if token is None or now >= token.expires:
            raise refuse(401, "Bad credentials")
        need = "read" if call.method == "GET" else "write"
        if self.permissions.get(permission, "") not in {need, "write"}:
            raise refuse(403, "Resource not accessible by integration")

    def revoke(self) -> None:
        """Make every installation token that is out worthless, as when the App's permissions change."""
        self.tokens.clear()

    def _check(self, assertion: str, now: float) -> None:
        undecodable = "A JSON web token could not be decoded"
        try:
            options: Any = {"verify_exp": False, "verify_iat": False, "verify_aud": False, "verify_iss": False}
            claims = jwt.decode(assertion, self.key.public_pem, algorithms=["RS256"], options=options)
        except jwt.PyJWTError as error:
            raise refuse(401, undecodable) from error
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int | float) or issued > now:
            text = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
            raise refuse(401, text)
        if not isinstance(expires, int | float) or expires <= now:
            text = "must be a numeric value representing the future time at which the assertion expires"
            raise refuse(401, f"'Expiration time' claim ('exp') {text}")
        if expires > now + JWT_SECONDS:
            raise refuse(401, "'Expiration time' claim ('exp') is too far in the future")
        if str(claims.get("iss")) not in {str(self.id), self.client_id}:
            raise refuse(404, "Integration not found")
