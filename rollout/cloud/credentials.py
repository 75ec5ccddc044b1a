"""Who asks: the operator's Google credentials, and a GitHub token. Neither is ever written anywhere by us.

Google's are found and renewed by google-auth, off the loop's thread, with a transport of our own: google-auth's needs
a library that nothing else here needs. A GitHub token is looked for as the gh command does it: GH_TOKEN, GITHUB_TOKEN,
then `gh auth token` (https://cli.github.com/manual/gh_help_environment, read 2026-11-25).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

import google.auth
import google.auth.exceptions
import google.auth.transport

from rollout.cloud.errors import CloudError, CredentialsError

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_SECONDS: Final = 30
"""What one exchange with a token endpoint, or with gh, may take."""
LOGIN: Final = "run: gcloud auth application-default login"


# It warns of credentials that name no project, and of an operator's own: both are what is expected here.
logging.getLogger("google.auth._default").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "Your application has authenticated using end user credentials", UserWarning)


class Credentials(Protocol):
    """What a request proves with who asks."""

    @property
    def remedy(self) -> str:
        """What to do where they are refused."""
        ...

    async def headers(self) -> Mapping[str, str]:
        """The request's headers. Raises CloudError."""
        ...

    def refused(self) -> bool:
        """The last ones were answered with 401: forget them. Whether others can be had."""
        ...


class FixedToken:
    """A token that stays."""

    def __init__(self, token: str, remedy: str) -> None:
        self.remedy = remedy
        self._headers = {"Authorization": f"Bearer {token}"}

    async def headers(self) -> Mapping[str, str]:
        """It."""
        return self._headers

    def refused(self) -> bool:
        """There is no other."""
        return False


class GoogleCredentials:
    """Application Default Credentials."""

    remedy = LOGIN

    def __init__(self) -> None:
        self._credentials: Any = None
        self._stale = False
        self._lock = asyncio.Lock()

    async def headers(self) -> Mapping[str, str]:
        """An access token that is still good, and whose quota pays where the credentials say so."""
        async with self._lock:
            if self._credentials is None or self._stale or not self._credentials.valid:
                await asyncio.to_thread(self._renew)
            found: Any = self._credentials
        quota: Any = getattr(found, "quota_project_id", None)
        paid = {"x-goog-user-project": str(quota)} if quota else {}
        return {"Authorization": f"Bearer {found.token}", **paid}

    def refused(self) -> bool:
        """Another can be had."""
        self._stale = True
        return True

    def _renew(self) -> None:
        try:
            if self._credentials is None:
                found = cast("tuple[Any, Any]", google.auth.default(scopes=[SCOPE]))  # pyright: ignore[reportUnknownMemberType]
                self._credentials = found[0]
            self._credentials.refresh(Transport())
        except google.auth.exceptions.DefaultCredentialsError:
            raise CredentialsError("Google", f"there are no credentials on this machine; {LOGIN}") from None
        except google.auth.exceptions.TransportError:
            raise CloudError("Google", 0, "an access token") from None
        except google.auth.exceptions.GoogleAuthError:
            raise CredentialsError("Google", f"the credentials are not accepted any more; {LOGIN}") from None
        self._stale = False


class GitHubCredentials:
    """A token from the environment, else gh's."""

    remedy = "set GH_TOKEN to one that is good, or take it out of the environment and run: gh auth login"

    def __init__(self, environ: Mapping[str, str], url: str) -> None:
        self._given = environ.get("GH_TOKEN") or environ.get("GITHUB_TOKEN") or ""
        host = urlsplit(url).hostname or ""
        self._host = "github.com" if host == "api.github.com" else host
        self._token = self._given
        self._lock = asyncio.Lock()

    async def headers(self) -> Mapping[str, str]:
        """The token."""
        async with self._lock:
            if not self._token:
                self._token = await self._from_gh()
        return {"Authorization": f"Bearer {self._token}"}

    def refused(self) -> bool:
        """Another may be had from gh, but not from the environment."""
        self._token = self._given
        return not self._given

    async def _from_gh(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                "gh", "auth", "token", "--hostname", self._host,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            raise CredentialsError(
                "GitHub", "there is no token; set GH_TOKEN, or install gh and run: gh auth login"
            ) from None
        try:
            output, _ = await asyncio.wait_for(process.communicate(), TOKEN_SECONDS)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
            if isinstance(error, TimeoutError):
                raise CredentialsError("GitHub", "gh auth token does not answer; set GH_TOKEN") from None
            raise
        token = output.decode(errors="replace").strip()
        if process.returncode or not token:
            raise CredentialsError(
                "GitHub", f"gh has no token for {self._host}; run: gh auth login --hostname {self._host}"
            )
        return token


class Transport(google.auth.transport.Request):
    """google-auth's way to a token endpoint, by the standard library. Blocks; used in a thread."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Reply:
        """Any status is a reply; raises TransportError where there is none."""
        request = urllib.request.Request(url, body, dict(headers or {}), method=method)  # noqa: S310 - google-auth's own
        try:
            with urllib.request.urlopen(request, timeout=timeout or TOKEN_SECONDS) as answer:  # noqa: S310 - the same
                return Reply(answer.status, dict(answer.headers.items()), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers.items()), error.read())
        except OSError as error:
            raise google.auth.exceptions.TransportError(str(type(error).__name__)) from None


class Reply(google.auth.transport.Response):
    """A reply as google-auth reads it."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._status, self._headers, self._data = status, headers, data

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._headers

    @property
    def data(self) -> bytes:
        """The body."""
        return self._data
