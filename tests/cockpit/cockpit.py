"""Debian's Cockpit on a host, with a browser in it: a real login, and the page in Cockpit's shell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cockpit.browser import DEADLINE, Browser
from tests.host.machine import Machine
from tests.servers.packages import debian_packages

PACKAGES = ("cockpit-bridge", "cockpit-system", "cockpit-ws", "chromium-headless-shell", "sudo")
ADDRESS = "http://127.0.0.1:9090"
PASSWORD = "a password of this host"
ADMIN, VIEWER = "admin", "viewer"
INSTALLING = 300.0
FILLING = ("input", "change")
"""The events of a field that is filled in and left."""

# Resolves as soon as the form of the login is shown.
FORM = """\
new Promise(resolve => {
    const check = () => document.getElementById("login-user-input").checkVisibility() && resolve();
    new MutationObserver(check).observe(document, { subtree: true, childList: true, attributes: true });
    check();
})
"""

# Resolves as soon as `holds` is true of the page's document, at each change of Cockpit's shell or of the page.
UNTIL = """\
new Promise((resolve, reject) => {
    const holds = page => (%(holds)s);
    const seen = new Set();
    const look = { subtree: true, childList: true, attributes: true, characterData: true };
    const check = () => {
        const frame = [...document.querySelectorAll("iframe")].find(item => item.name.endsWith("/deployd"));
        const page = frame?.contentDocument;
        for (const [item, watch] of [[frame, () => frame.addEventListener("load", check)],
            [page?.documentElement, () => observer.observe(page, look)]])
            if (item && !seen.has(item)) {
                seen.add(item);
                watch();
            }
        const found = page?.body ? holds(page) : null;
        if (found) {
            observer.disconnect();
            clearTimeout(timer);
            resolve(typeof found === "object" ? true : found);
        }
    };
    const observer = new MutationObserver(check);
    const timer = setTimeout(() => reject(new Error(
        "not within %(seconds)d s: " + %(quoted)s + "\\n" +
        [document, ...[...document.querySelectorAll("iframe")].map(item => item.contentDocument)]
            .map(item => item?.body?.innerText ?? "").join("\\n----\\n"))), %(seconds)d * 1000);
    observer.observe(document, look);
    check();
})
"""


class Cockpit:
    """Cockpit on `machine`, and the browser of one person. It is a context manager that ends the browser."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.browser = Browser(machine.popen, "/tmp/browser")

    def __enter__(self) -> Cockpit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.browser.__exit__(kind, error, traceback)

    def login(self, user: str, *, administrator: bool = False) -> None:
        """Log in as a person does. An administrator has asked for administrative access in an earlier session."""
        self.browser.open(ADDRESS)
        self.browser.evaluate(FORM)
        stored = f'localStorage.setItem("superuser:{user}", "any")' if administrator else "localStorage.clear()"
        self.browser.evaluate(stored)
        for field, value in (("user", user), ("password", PASSWORD)):
            self.browser.evaluate(f'document.getElementById("login-{field}-input").value = {json.dumps(value)}')
        self.browser.leave('document.getElementById("login-button").click()')

    def show(self, path: str = "") -> None:
        """Open the page, or that of an app, in the shell, and wait until deployd has answered."""
        self.browser.open(f"{ADDRESS}/deployd#/{path}")
        self.until('page.querySelector("#page[data-loaded]")')
        self.until(f'page.querySelector("h1").textContent === {json.dumps(path or "Deployments")}')

    def until(self, holds: str) -> Any:
        """Wait until a JavaScript expression is true of the document `page`; return its value, true for an element."""
        return self.browser.evaluate(UNTIL % {"holds": holds, "quoted": json.dumps(holds), "seconds": int(DEADLINE)})

    def text(self, selector: str) -> str:
        """Return the text of an element as soon as there is one."""
        found = f"page.querySelector({json.dumps(selector)})"
        return str(self.until(f'{found} && {found}.innerText.replaceAll(/\\s+/g, " ")'))

    def reads(self, selector: str, text: str) -> None:
        """Wait until an element contains a text, whatever its blanks."""
        found = f"page.querySelector({json.dumps(selector)})"
        self.until(f'{found}?.innerText.replaceAll(/\\s+/g, " ").includes({json.dumps(text)})')

    def gone(self, selector: str) -> None:
        self.until(f"!page.querySelector({json.dumps(selector)})")

    def click(self, selector: str) -> None:
        """Click an element as soon as it is there and enabled."""
        found = f"page.querySelector({json.dumps(selector + ':not([disabled])')})"
        self.until(f"{found} && ({found}.click(), true)")

    def fill(self, selector: str, value: str) -> None:
        """Type into a field as a person does who leaves it afterwards."""
        found = f"page.querySelector({json.dumps(selector)})"
        events = "".join(f'{found}.dispatchEvent(new Event("{name}", {{ bubbles: true }})), ' for name in FILLING)
        self.until(f"{found} && ({found}.value = {json.dumps(value)}, {events}true)")

    def picture(self, target: Path) -> None:
        """Write what the window shows as a PNG, with all its fonts, when its transitions have ended."""
        frames = '[document, ...[...document.querySelectorAll("iframe")].map(item => item.contentDocument)]'
        still = "item.getAnimations().filter(one => one.effect.getComputedTiming().endTime < Infinity)"
        ended = f"[item.fonts.ready, ...{still}.map(one => one.finished)]"
        self.browser.evaluate(f"Promise.all({frames}.flatMap(item => {ended})).then(() => true)")
        self.browser.screenshot(target)

    def measure(self, pattern: str) -> None:
        """Ask for the weights as measured, again after each answer, until they match a regular expression."""
        again = "page.getElementById('action-measure').click()"
        self.until(f"/{pattern}/.test(page.querySelector('.legend').innerText) || {again}")

    def tab_to(self, identity: str, most: int = 60) -> None:
        """Press Tab until the element with this id has the focus, which must be visible then."""
        for _ in range(most):
            if self.until('page.activeElement.id || "-"') == identity:
                shown = "getComputedStyle(page.activeElement).outlineStyle"
                assert self.until(f"{shown} !== 'none' || {shown}") is True, f"{identity} shows no focus"
                return
            self.browser.press("Tab")
        raise AssertionError(f"{identity} is not reached with {most} times Tab")


def install(machine: Machine) -> None:
    """Install Cockpit and the browser with dpkg, and make the users."""
    there = machine.path("/srv/packages")
    there.mkdir(parents=True)
    for package in debian_packages(machine.root, PACKAGES):
        shutil.copy(package, there)
    machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)  # of containers: starts no service
    machine.run(["sh", "-c", "dpkg --install /srv/packages/*.deb"], timeout=INSTALLING)
    for user, groups in ((ADMIN, ["--groups", "sudo"]), (VIEWER, [])):
        machine.run(["useradd", "--create-home", "--shell", "/bin/bash", *groups, user])
        machine.run(["chpasswd"], input=f"{user}:{PASSWORD}\n")
    machine.run(["systemctl", "start", "cockpit.socket"])
