"""Talking to the service manager that runs us: readiness, status line, watchdog (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os

from systemd import daemon


class Notifier:
    """sd_notify; does nothing when no service manager listens."""

    def __init__(self) -> None:
        self._status = ""
        usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        ours = usec.isdigit() and (not pid or pid == str(os.getpid()))
        self.watchdog_interval = int(usec) / 1e6 / 2 if ours else 0.0
        """Seconds between signs of life; half of what systemd allows, as sd_watchdog_enabled(3) advises."""

    def ready(self) -> None:
        daemon.notify("READY=1")

    def stopping(self) -> None:
        daemon.notify("STOPPING=1")

    def status(self, text: str) -> None:
        """The line that `systemctl status deployd` shows; sent only when it changed."""
        if text != self._status:
            self._status = text
            daemon.notify(f"STATUS={text}")

    def keep(self, name: str, descriptor: int) -> None:
        """Have the service manager keep a file descriptor for the next one of us (FDSTORE=1 of sd_notify(3)).

        It is one that cannot be polled, and would be taken for broken (FDPOLL=0)."""
        daemon.notify(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", fds=[descriptor])

    def forget(self, name: str) -> None:
        """Have it close what it keeps under that name."""
        daemon.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def kept(self) -> dict[str, int]:
        """What one of us before had kept, by name; they are ours to close. To be asked once."""
        return {name: number for number, name in daemon.listen_fds_with_names().items()}

    async def watchdog(self) -> None:
        """Tell systemd that the event loop still turns, for ever."""
        while self.watchdog_interval:
            daemon.notify("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_interval)
