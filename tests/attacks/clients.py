"""Scripts that attackers run on the test host as clients of the bus."""

from __future__ import annotations

AGENT = """
import asyncio, os, sys
from deployd.bus import Bus
POLKIT = "org.freedesktop.PolicyKit1"
async def main():
    bus = await Bus.connect()
    async def serve(call):
        print(call.member, flush=True)
        if call.member == "BeginAuthentication":
            await asyncio.Event().wait()
        return "", []
    bus.serve(serve)
    pid = int(sys.argv[1]) or os.getpid()
    start = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19])
    subject = ["unix-process", {"pid": ("u", pid), "start-time": ("t", start), "uid": ("i", os.getuid())}]
    authority = POLKIT, "/org/freedesktop/PolicyKit1/Authority", POLKIT + ".Authority"
    await bus.call(*authority, "RegisterAuthenticationAgent", "(sa{sv})ss", [subject, "C", "/agent"])
    print("registered", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
"""A polkit agent for the process with the given ID that never answers."""

PROMPTS = """
import asyncio, sys
from deployd.api import APP, NAME, app_path
from deployd.bus import Bus, BusError
asked = refused = 0
async def ask(bus):
    global refused
    try:
        await bus.call(NAME, app_path("demo"), APP, "Restart", "a{sv}", [{}], timeout=120, interactive=True)
    except BusError:
        refused += 1
async def main():
    global asked
    sys.stdin.readline()
    buses = [await Bus.connect() for _ in range(64)]
    calls = [asyncio.ensure_future(ask(bus)) for bus in buses]
    print("asked", flush=True)
    await asyncio.gather(*calls)
import os
print(os.getpid(), flush=True)
asyncio.run(main())
"""
"""64 connections, each with a call for which polkit requests a password."""

LISTEN = """
import asyncio, json
from deployd.api import APP, MANAGER, NAME, ROOT
from deployd.bus import Bus
def show(signal):
    print(json.dumps([signal.member, signal.body], default=str), flush=True)
async def main():
    bus = await Bus.connect()
    for interface, member, signature in (
        (APP, "RolloutEvent", "s"),
        (MANAGER, "AppChanged", "ss"),
        ("org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as"),
    ):
        await bus.subscribe(NAME, show, interface=interface, member=member, signature=signature, path_namespace=ROOT)
    print("listening", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
"""Prints every signal of the daemon."""

PLANS = """
import asyncio
from deployd.api import APP, NAME, app_path
from deployd.bus import Bus, BusError
async def plan(bus):
    try:
        await bus.call(NAME, app_path("demo"), APP, "Plan", "a{sv}", [{}], timeout=60)
        return "answered"
    except BusError as error:
        return error.name.rpartition(".")[2]
async def main():
    buses = [await Bus.connect() for _ in range(30)]
    calls = [asyncio.ensure_future(plan(bus)) for bus in buses for _ in range(10)]
    print("asked", flush=True)
    done = await asyncio.gather(*calls)
    print(done.count("answered"), flush=True)
asyncio.run(main())
"""
"""Makes 300 concurrent requests for a plan over 30 connections, and prints how many were answered."""
