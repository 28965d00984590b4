"""An instance of a steered app that has stopped: its socket is kept or closed, and it is not leaving any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.routing.address_log import AddressLog
from deployd.routing.kernel import Kernel
from deployd.routing.listeners import Listeners
from deployd.routing.steered import Steered
from deployd.systemd.manager import Systemd


@pytest.mark.parametrize(("more", "may_stay"), [(True, True), (True, False), (False, True)])
def test_a_socket_is_kept_if_more_instances_are_to_be_started(
    monkeypatch: pytest.MonkeyPatch, more: bool, may_stay: bool
) -> None:
    parts: list[Any] = [create_autospec(kind, instance=True) for kind in (Systemd, Kernel, AddressLog)]
    steered = Steered("demo", *parts, changed=lambda: None)
    tcp: Any = create_autospec(Listeners, instance=True)
    tcp.keep.return_value = may_stay
    monkeypatch.setattr(steered, "_tcp", tcp)
    monkeypatch.setattr(steered, "_passed", SimpleNamespace(tcp=lambda _number: True))
    monkeypatch.setattr(steered, "_candidates", lambda: ["another instance"])
    monkeypatch.setattr(steered, "_snapshot", SimpleNamespace(has_more_to_start=more))
    monkeypatch.setattr(steered, "_leaving", {1})
    asyncio.run(steered.close(1))
    assert tcp.close.called is not (more and may_stay)
    assert steered._leaving == set(), "or it would get no connections if an administrator started it"
