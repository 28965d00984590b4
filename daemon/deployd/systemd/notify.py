"""Notifications to the service manager that runs deployd: readiness, status line, watchdog (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os

from systemd import daemon

from deployd.alarm import until_next


class Notifier:
    """Sends notifications, which have no effect without a service manager."""

    def __init__(self) -> None:
        self._status = ""
        usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        ours = usec.isdigit() and (not pid or pid == str(os.getpid()))
        self.watchdog_interval = int(usec) / 1e6 / 2 if ours else 0.0
        """Seconds between two notifications of the watchdog: half of its timeout, as sd_watchdog_enabled(3) advises; 0
        without a watchdog."""

    def ready(self) -> None:
        """Notify that the daemon is ready."""
        daemon.notify("READY=1")

    def stopping(self) -> None:
        """Notify that the daemon is stopping."""
        daemon.notify("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status deployd` shows. It is sent only if it has changed."""
        if text != self._status:
            self._status = text
            daemon.notify(f"STATUS={text}")

    def keep(self, name: str, descriptor: int) -> None:
        """Store a file descriptor in the service manager for the next daemon (FDSTORE=1 of sd_notify(3)).

        With FDPOLL=0: systemd would poll the descriptor, which is not possible, and remove it as broken.
        """
        daemon.notify(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", fds=[descriptor])

    def forget(self, name: str) -> None:
        """Remove the stored descriptors of that name."""
        daemon.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def kept(self) -> dict[str, int]:
        """Return the descriptors that an earlier daemon stored, by name. To be called once; the caller closes them."""
        return {name: number for number, name in daemon.listen_fds_with_names().items()}

    async def watchdog(self) -> None:
        """Notify the watchdog, for ever, that the event loop is running. Returns at once without a watchdog."""
        while self.watchdog_interval:
            daemon.notify("WATCHDOG=1")
            await asyncio.sleep(until_next(self.watchdog_interval, asyncio.get_running_loop().time()))
