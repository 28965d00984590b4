"""asgi_launcher.py: from SIGTERM on, an ASGI application answers with Connection: close and closes its WebSockets."""

from __future__ import annotations

import asyncio
import runpy
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integrations.activated import INTEGRATIONS

LAUNCHER = runpy.run_path(str(INTEGRATIONS / "asgi_launcher.py"))
LAUNCHER["Terminable"].stop.__globals__["signal"] = SimpleNamespace(
    SIGTERM=signal.SIGTERM, SIGINT=0, raise_signal=print
)
"""Without the SIGINT, which would end the tests."""
Message = dict[str, Any]


async def application(scope: Message, receive: Any, send: Any) -> None:
    """Answer a request, or accept a WebSocket and send back what it gets, until it is closed."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": "back"})


async def answer(app: Any, version: str) -> Message:
    """Return the head of the response to a request of an HTTP version."""
    sent: asyncio.Queue[Message] = asyncio.Queue()
    await app({"type": "http", "http_version": version}, sent.get, sent.put)
    return await sent.get()


def leaving() -> Any:
    return LAUNCHER["Terminable"](application)


def test_http_1_says_connection_close_from_sigterm_on() -> None:
    async def run() -> list[bool]:
        app = leaving()
        before = await answer(app, "1.1")
        signal.raise_signal(signal.SIGTERM)
        await app.stopping.wait()
        after = [await answer(app, version) for version in ("1.1", "2")]
        return [(b"connection", b"close") in message["headers"] for message in (before, *after)]

    assert asyncio.run(run()) == [False, True, False]


async def websocket(*, talks: bool) -> list[Message]:
    """Return what a client gets that sends a message before SIGTERM, and afterwards one more if it `talks`."""
    app = leaving()
    received: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    serving = asyncio.create_task(app({"type": "websocket"}, received.get, sent.put))
    await received.put({"type": "websocket.receive"})
    got = [await sent.get(), await sent.get()]
    signal.raise_signal(signal.SIGTERM)
    await app.stopping.wait()
    if talks:
        await received.put({"type": "websocket.receive"})
        got.append(await sent.get())
    got.append(await sent.get())
    await received.put({"type": "websocket.receive"})  # crossed the close frame
    await received.put({"type": "websocket.disconnect"})
    await serving
    assert sent.empty()
    return got


@pytest.mark.parametrize("talks", [False, True])
def test_a_websocket_is_closed_with_1012_after_its_next_answer_or_a_second(talks: bool) -> None:
    *before, closed = asyncio.run(websocket(talks=talks))
    assert closed == {"type": "websocket.close", "code": 1012}
    assert [message["type"] for message in before] == ["websocket.accept", *["websocket.send"] * (2 if talks else 1)]


@pytest.mark.parametrize(
    ("target", "expected"), [("json:loads", "loads"), ("json:decoder.JSONDecoder", "JSONDecoder"), ("json", None)]
)
def test_the_application_is_named_as_servers_name_it(target: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(AttributeError, match="app"):
            LAUNCHER["load"](target)
    else:
        assert LAUNCHER["load"](target).__name__ == expected
