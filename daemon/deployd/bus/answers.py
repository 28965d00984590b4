"""Builds the reply to a method call from what the server returns or raises. No reply makes the bus disconnect us."""

from __future__ import annotations

import logging
from typing import Any

from dbus_next import MessageType
from dbus_next.validators import is_interface_name_valid

from deployd.bus.bodies import Unreadable, Unsendable, marshal, read, readable
from deployd.bus.callers import Call
from deployd.bus.messages import ERROR, BusError, MethodCall, Server
from deployd.bus.wire import ALLOW_INTERACTIVE_AUTHORIZATION, Header
from deployd.errors import PREFIX, DeploydError

log = logging.getLogger(__name__)

FAILED = PREFIX + DeploydError.name


async def answer(serial: int, call: Call, server: Server) -> bytes:
    """Have `server` handle `call`; return the marshalled reply with `serial`."""
    header, fields = call.header, call.header.fields
    try:
        signature, body = await server(_method_call(call))
        return _return(serial, header, signature, body)
    except DeploydError as error:
        return refusal(serial, header, error.dbus_name, str(error))
    except BusError as error:
        return refusal(serial, header, error.name, error.message)
    except Unreadable as error:
        return refusal(serial, header, ERROR + "InvalidArgs", str(error))
    except Unsendable as error:
        log.error("the reply of %s.%s to %s was not sent: %s", fields.interface, fields.member, fields.sender, error)
        return refusal(serial, header, FAILED, f"the reply cannot be sent over D-Bus: {error}")
    except Exception as error:
        log.exception("%s.%s failed", fields.interface, fields.member)
        return refusal(serial, header, FAILED, f"internal error: {error!r}; see the journal")


def refusal(serial: int, header: Header, name: str, text: str) -> bytes:
    """Return the marshalled error reply to the call with `header`. It can be sent whatever `name` and `text` are."""
    if not is_interface_name_valid(name) or "\n" in name:
        log.error("%r is not a valid D-Bus error name", name)
        name = FAILED
    return marshal(
        [readable(text)],
        serial=serial,
        message_type=MessageType.ERROR,
        reply_serial=header.serial,
        destination=header.fields.sender,
        error_name=name,
        signature="s",
    )


def _return(serial: int, header: Header, signature: str, body: list[Any]) -> bytes:
    """Return the marshalled reply to the call with `header`. Raises Unsendable."""
    return marshal(
        body,
        serial=serial,
        message_type=MessageType.METHOD_RETURN,
        reply_serial=header.serial,
        destination=header.fields.sender,
        signature=signature,
    )


def _method_call(call: Call) -> MethodCall:
    """Unmarshal the body of a call. Raises Unreadable."""
    header, fields = call.header, call.header.fields
    return MethodCall(
        fields.sender,
        fields.path,
        fields.interface,
        fields.member,
        fields.signature,
        read(header.order, fields.signature, call.body),
        bool(header.flags & ALLOW_INTERACTIVE_AUTHORIZATION),
    )
