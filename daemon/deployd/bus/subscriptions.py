"""Dispatches signals to their handlers. A subscription to a name receives only what the current owner sends."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain

from deployd.bus.bodies import Unreadable, read
from deployd.bus.messages import DBUS, Handler, Signal
from deployd.bus.wire import Fields, Header

log = logging.getLogger(__name__)

OWNER_CHANGED = "NameOwnerChanged"


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """Signals `interface`.`member` of the owner of `name` with the given `signature`; "" in the rest means any."""

    name: str
    interface: str
    member: str
    signature: str
    handler: Handler
    path: str = ""
    path_namespace: str = ""
    arg0: str = ""
    wanted: frozenset[str] | None = None
    """The keys of an a{sv} in the body that the handler uses; None for all."""

    @property
    def rule(self) -> str:
        """The match rule for AddMatch."""
        terms = {"sender": self.name, "interface": self.interface, "member": self.member}
        terms |= {"path": self.path, "path_namespace": self.path_namespace, "arg0": self.arg0}
        return ",".join(["type='signal'", *(f"{key}='{value}'" for key, value in terms.items() if value)])

    def takes(self, fields: Fields) -> bool:
        """True if a signal with this header matches, its sender aside."""
        below = f"{self.path_namespace}/"
        return (
            fields.interface == self.interface
            and fields.member == self.member
            and fields.signature == self.signature
            and fields.path == (self.path or fields.path)
            and (not self.path_namespace or f"{fields.path}/".startswith(below))
        )


def of_owner(name: str, handler: Handler) -> Subscription:
    """Return the subscription to changes of the owner of `name`."""
    return Subscription(DBUS[0], DBUS[2], OWNER_CHANGED, "sss", handler, path=DBUS[1], arg0=name)


class Subscriptions:
    """The subscriptions of one connection, and the owners of the names it uses."""

    def __init__(self) -> None:
        self._all: list[Subscription] = []
        self.owners: dict[str, str] = {DBUS[0]: DBUS[0]}
        """Maps well-known names to unique names, "" while the name has no owner."""

    def add(self, subscription: Subscription) -> None:
        self._all.append(subscription)

    def remove(self, subscription: Subscription) -> bool:
        """Remove a subscription; False if it was removed before."""
        if subscription not in self._all:
            return False
        self._all.remove(subscription)
        return True

    def wants(self, fields: Fields) -> bool:
        """True if a subscription matches a signal with this header."""
        return any(self._concerned(fields))

    def deliver(self, header: Header, data: bytes) -> None:
        """Call the handlers of a signal. If one fails, log that and call the others."""
        fields = header.fields
        concerned = self._concerned(fields)
        asked = [subscription.wanted for subscription in concerned]
        wanted = None if None in asked else frozenset(chain.from_iterable(keys for keys in asked if keys is not None))
        try:
            body = read(header.order, fields.signature, data, wanted=wanted)
        except Unreadable as error:
            log.error("a signal %s.%s was ignored: %s", fields.interface, fields.member, error)
            return
        signal = Signal(fields.sender, fields.path, fields.interface, fields.member, body)
        for subscription in concerned:
            if subscription.arg0 in ("", body[0] if body else ""):
                try:
                    subscription.handler(signal)
                except Exception:  # a bug, or a value in the body that the handler does not expect
                    log.exception("a signal %s.%s could not be handled", fields.interface, fields.member)

    def _concerned(self, fields: Fields) -> list[Subscription]:
        owners, sender = self.owners, fields.sender
        if not sender:
            return []
        return [item for item in self._all if owners.get(item.name) == sender and item.takes(fields)]
