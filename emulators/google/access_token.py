"""Access tokens of service accounts, and what each account may not do."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Final

from emulators.google.reply import refuse
from emulators.route import Call, Route

LIFETIME_SECONDS: Final = 3600
RENEWED_SECONDS: Final = 300
"""Before its end the metadata server hands out another token; until then the same one."""

MISSING: Final = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
INVALID: Final = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """One that was handed out."""

    token: str
    account: str
    expires: float


class AccessTokens:
    """Hands them out and judges them. Rights are not modelled: an account may do whatever no test denied it."""

    def __init__(self, *, seed: int) -> None:
        self._random = random.Random(f"{seed}/access")  # noqa: S311 - to be repeated, not secret
        self._current: dict[str, AccessToken] = {}
        self._all: dict[str, AccessToken] = {}
        self._denied: set[tuple[str, str]] = set()

    def of(self, account: str, now: float) -> AccessToken:
        """An account's token."""
        token = self._current.get(account)
        if token is None or now >= token.expires - RENEWED_SECONDS:
            token = self._current[account] = self._new(account, now + LIFETIME_SECONDS)
        return token

    def lasting(self, account: str) -> AccessToken:
        """A token that does not end by itself, which no real one is: for who has no other way to renew it."""
        return self._new(account, float("inf"))

    def revoke(self) -> None:
        """Make every token worthless that is out."""
        self._current.clear()
        self._all.clear()

    def deny(self, route: str, account: str) -> None:
        """Take away an account's right to a route."""
        self._denied.add((route, account))

    def allow(self, route: str, account: str) -> None:
        """Give it back."""
        self._denied.discard((route, account))

    def account(self, call: Call, now: float) -> str | None:
        """Whose token a call carries; None when there is none that is good."""
        token = self._all.get(call.bearer)
        return token.account if token is not None and now < token.expires else None

    def check(self, route: Route, call: Call, now: float) -> None:
        """Whether a call may be executed. Raises Refusal: 401 for the token, 403 for the right."""
        account = self.account(call, now)
        if account is None:
            if route.service == "storage" and not call.bearer:
                text = "Anonymous caller does not have storage access to the Google Cloud Storage object."
                raise refuse(
                    "storage", 401, f"{text} Permission denied on resource (or it may not exist).", reason="required"
                )
            if route.service == "storage":
                raise refuse("storage", 401, "Invalid Credentials")
            raise refuse(
                route.service, 401, INVALID if call.bearer else MISSING, reason="" if call.bearer else "required"
            )
        if (route.name, account) in self._denied:
            raise refuse(route.service, 403, f"{account} has no permission for {call.path} (or it may not exist).")

    def _new(self, account: str, expires: float) -> AccessToken:
        letters = "".join(self._random.choices(string.ascii_letters + string.digits + "-_", k=120))
        token = self._all[f"ya29.c.{letters}"] = AccessToken(
            token=f"ya29.c.{letters}", account=account, expires=expires
        )
        return token
