"""Chromium without a window, driven by its DevTools protocol over a pipe: no port, no driver, no library.

https://chromedevtools.github.io/devtools-protocol has the methods and events that are named here.
"""

from __future__ import annotations

import base64
import itertools
import json
import selectors
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = (
    "/usr/lib/chromium/chromium-headless-shell",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
DEADLINE = 30.0
"""Seconds for what a test waits for in the page."""
GRACE = 10.0
"""Seconds that the browser has beyond that, so that the page can say what it shows instead."""

Json = dict[str, Any]
KEYS = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27},
    "Space": {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
}


class BrowserError(Exception):
    """The browser refused something, did not answer, or ended."""


class Browser:
    """One browser with one page. It is a context manager that ends it."""

    def __init__(self, popen: Callable[..., subprocess.Popen[Any]], profile: str) -> None:
        """`popen` starts a program with options of subprocess.Popen; `profile` is a directory for it."""
        # The browser reads file descriptor 3 and writes 4.
        shell = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1', "sh"]
        argv = [*shell, *PROGRAM, f"--user-data-dir={profile}", "about:blank"]
        self._process = popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False, bufsize=0)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._events: deque[Json] = deque(maxlen=1000)
        self._session: str | None = None
        try:
            target = self._send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._send(f"{domain}.enable")
        except BrowserError:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._process:  # closes the pipes as well
            self._process.kill()

    # ---- what a person does

    def open(self, url: str) -> None:
        """Navigate, and wait for the page's load event."""
        self._events.clear()
        answer = self._send("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        if "loaderId" in answer:  # else it is the same document
            self._event("Page.loadEventFired")

    def leave(self, expression: str) -> None:
        """Evaluate what has the browser load another document, and wait until it is loaded."""
        self._events.clear()
        self.evaluate(expression)
        self._event("Page.loadEventFired")

    def window(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """Set the size of the window, and the colour scheme that the system prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._send("Emulation.setEmulatedMedia", features=[scheme, still])

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key of KEYS."""
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, modifiers=8 if shift else 0, **KEYS[key])

    def type(self, text: str) -> None:
        """Type text into what has the focus."""
        self._send("Input.insertText", text=text)

    # ---- what a person sees

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is awaited. Raises BrowserError."""
        answer = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def roles(self, frame: str) -> Counter[str]:
        """Count the roles that a screen reader finds in the frame whose name ends so."""
        tree = self._send("Page.getFrameTree")["frameTree"]
        (found,) = (
            child["frame"]["id"] for child in tree["childFrames"] if child["frame"].get("name", "").endswith(frame)
        )
        nodes = self._send("Accessibility.getFullAXTree", frameId=found)["nodes"]
        return Counter(node["role"]["value"] for node in nodes if not node["ignored"])

    def screenshot(self, target: Path) -> None:
        """Write what the window shows as a PNG."""
        target.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """Return the errors that the browser has reported since the page was opened: exceptions, refused resources."""
        found = []
        for event in self._events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        return found

    # ---- the protocol

    def _send(self, method: str, **parameters: Any) -> Json:
        number = next(self._numbers)
        message: Json = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise BrowserError(f"{method}: the browser has ended ({error})") from error
        until = time.monotonic() + DEADLINE + GRACE
        while True:
            answer = self._receive(until, method)
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: Json = answer["result"]
        return result

    def _event(self, method: str) -> Json:
        """Wait for an event that has not been received yet, or has been since the page was opened."""
        until = time.monotonic() + DEADLINE + GRACE
        for event in self._events:
            if event["method"] == method:
                return event
        while (event := self._receive(until, method)).get("method") != method:
            pass
        return event

    def _receive(self, until: float, what: str) -> Json:
        """Return the next message; events are also kept."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise BrowserError(f"{what}: the browser does not answer")
                read = self._process.stdout.read(1 << 16)
                if not read:
                    raise BrowserError(f"{what}: the browser has ended")
                self._buffer += read
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: Json = json.loads(raw)
        if "method" in message:
            self._events.append(message)
        return message
