"""HTTP to etcd's JSON gateway: the next member if one does not answer, deadlines, authentication, errors.

The gateway is part of each etcd server, from 3.4 on below /v3. It takes no user from the common name of a client's
certificate (etcd.io/docs, "Why gRPC gateway"); the certificate only opens the connection.

httpx is used as 0.23 (Debian 12) and 0.28 (Debian 13) have it: an SSLContext as `verify`, and no option of a transport.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from deployd.errors import Refused, Unreachable

Json = dict[str, Any]

TIMEOUT = 5.0
"""Seconds for an answer of one member. A member without a quorum answers after about seven (etcd's own deadline)."""
SILENCE = 900.0
"""Seconds without a line on a stream. A watch is sent progress every ten minutes (etcd's default)."""
CANCELLED, DEADLINE, EXHAUSTED, ABORTED, UNAVAILABLE, UNAUTHENTICATED = 1, 4, 8, 10, 14, 16
"""Codes of gRPC (google.golang.org/grpc/codes)."""
TEMPORARY = (CANCELLED, DEADLINE, EXHAUSTED, ABORTED, UNAVAILABLE)
LATE_LOGIN = ("etcdserver: user name is empty", "etcdserver: invalid auth token", "etcdserver: revision of auth store")
"""Beginnings of errors that a new login cures: a token is forgotten after five minutes, and by a restarted member."""


class EtcdUnavailable(Unreachable):
    """No member of etcd answers, or they have no leader."""


class OutcomeUnknown(EtcdUnavailable):
    """A member did not answer in time: what it was asked to write may be written."""


class EtcdRefused(Refused):
    """etcd answers with an error that another try does not cure."""


class _LoginNeeded(Exception):
    """The token is missing or no longer valid."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where etcd is, and how it is reached."""

    endpoints: tuple[str, ...]
    """URLs without a path, at least one."""
    context: ssl.SSLContext | None = None
    """For https; None for http."""
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = TIMEOUT


class Gateway:
    """Connections to the members of one etcd cluster. Raises EtcdUnavailable and EtcdRefused."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._member = 0
        """Index of the endpoint that is asked first: the last one that has answered."""
        self._token = ""
        verify: ssl.SSLContext | bool = access.context if access.context is not None else True
        self._http = httpx.AsyncClient(verify=verify, trust_env=False, timeout=access.timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._http.aclose()

    @property
    def member(self) -> str:
        """The endpoint that is asked first."""
        return self._access.endpoints[self._member]

    async def call(self, path: str, body: Mapping[str, Any], *, repeat: bool) -> Json:
        """Send a request, to each member in turn until one answers.

        Without `repeat`, a request that a member may have carried out is sent to no other: raises OutcomeUnknown.
        """
        problem = ""
        for _ in self._access.endpoints:
            try:
                return await self._answered(path, body)
            except EtcdUnavailable as error:
                if isinstance(error, OutcomeUnknown) and not repeat:
                    self._next()
                    raise
                problem = str(error)
            self._next()
        raise EtcdUnavailable(problem)

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[AsyncGenerator[Json, None], None]:
        """Open a stream of results at one member. The iterator ends if the member ends it."""
        token = self._token or await self._login()
        url = self._url(path)
        timeout = httpx.Timeout(self._access.timeout, read=SILENCE)
        try:
            async with (
                self._http.stream("POST", url, json=body, headers=_authorization(token), timeout=timeout) as response,
                aclosing(_results(response)) as results,
            ):
                yield results
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError) as error:
            self._next()
            raise EtcdUnavailable(f"{self._place(url)} ended a stream: {_words(error)}") from None
        except _LoginNeeded as error:
            self._token = ""
            raise EtcdUnavailable(str(error)) from None

    async def _answered(self, path: str, body: Mapping[str, Any]) -> Json:
        """Return the answer of the current member, after a login if that is needed."""
        for _ in range(2):
            token = self._token or await self._login()
            try:
                return await self._ask(path, body, token)
            except _LoginNeeded as error:
                self._token = ""
                problem = str(error)
        raise EtcdRefused(f"etcd refuses: {problem}; check user and password in the settings of the fleet")

    async def _login(self) -> str:
        """Return a token; "" if there is no user."""
        if not self._access.user:
            return ""
        body = {"name": self._access.user, "password": self._access.password}
        try:
            answer = await self._ask("auth/authenticate", body, "")
        except EtcdRefused as error:
            if "authentication is not enabled" not in str(error):
                raise
            return ""
        self._token = str(answer.get("token", ""))
        return self._token

    async def _ask(self, path: str, body: Mapping[str, Any], token: str) -> Json:
        url = self._url(path)
        try:
            response = await self._http.post(url, json=body, headers=_authorization(token))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise EtcdUnavailable(f"{self._place(url)} does not answer: {_words(error)}") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise OutcomeUnknown(f"{self._place(url)} does not answer: {_words(error)}") from None
        try:
            found = json.loads(response.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EtcdRefused(f"{self._place(url)} is no etcd: it answers HTTP {response.status_code} without JSON")
        if response.status_code != httpx.codes.OK or "error" in found:
            raise _error(found, had_token=bool(self._access.user))
        return found

    def _url(self, path: str) -> str:
        return f"{self.member}/v3/{path}"

    def _place(self, url: str) -> str:
        return f"etcd at {url.partition('/v3/')[0]}"

    def _next(self) -> None:
        self._member = (self._member + 1) % len(self._access.endpoints)


async def _results(response: httpx.Response) -> AsyncGenerator[Json, None]:
    """Yield what the lines of a stream have as "result". A line may have megabytes."""
    rest: list[bytes] = []
    async with aclosing(response.aiter_bytes()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            *lines, last = chunk.split(b"\n")
            for line in lines:
                text, rest = b"".join((*rest, line)), []
                if text.strip():
                    yield _result(text)
            rest.append(last)
    if text := b"".join(rest).strip():
        yield _result(text)


def _result(line: bytes) -> Json:
    try:
        found = json.loads(line)
    except ValueError:
        raise EtcdUnavailable("etcd has sent a line of a stream that is not JSON") from None
    if not isinstance(found, dict) or "result" not in found:
        raise _error(found if isinstance(found, dict) else {}, had_token=True)
    return dict(found["result"])


def _error(found: Mapping[str, Any], *, had_token: bool) -> Exception:
    """Return the exception for an error as the gateway has them: of a request, or of a stream."""
    inner = found["error"] if isinstance(found.get("error"), dict) else found
    message = str(inner.get("message") or inner.get("error") or "an error without words")
    code = inner.get("code", inner.get("grpc_code", 0))
    if had_token and (code == UNAUTHENTICATED or message.startswith(LATE_LOGIN)):
        return _LoginNeeded(message)
    if code in TEMPORARY:
        return OutcomeUnknown(f"etcd cannot answer now: {message}")
    return EtcdRefused(f"etcd refuses: {message}")


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": token} if token else {}


def _words(error: Exception) -> str:
    """Return what httpx says, which is nothing for a time-out."""
    return str(error) or ("no answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__)
