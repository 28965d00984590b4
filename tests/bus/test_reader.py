"""Bodies are read as dbus-next wrote them, entries that are not wanted are skipped, and malformed ones are refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from dbus_next import Message, Variant
from hypothesis import given
from hypothesis import strategies as st

from deployd.bus.bodies import Unreadable, marshal, read

Typed = tuple[str, Any, Any]
"""A signature, a value of it as dbus-next takes it, and the same as it is to be read."""

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
RANGES = {"y": (0, 8), "n": (-15, 15), "q": (0, 16), "i": (-31, 31), "u": (0, 32), "x": (-63, 63), "t": (0, 64)}


def integers(kind: str) -> st.SearchStrategy[Typed]:
    least, most = RANGES[kind]
    low = 0 if least == 0 else -(2**-least)
    return st.integers(low, 2**most - 1).map(lambda value: (kind, value, value))


BASIC: st.SearchStrategy[Typed] = st.one_of(
    st.sampled_from(sorted(RANGES)).flatmap(integers),
    st.booleans().map(lambda value: ("b", value, value)),
    st.floats(allow_nan=False).map(lambda value: ("d", value, value)),
    TEXT.map(lambda value: ("s", value, value)),
    st.sampled_from(["/", "/org/example"]).map(lambda value: ("o", value, value)),
    st.sampled_from(["", "s", "a{sv}"]).map(lambda value: ("g", value, value)),
)


def several(typed: Typed) -> st.SearchStrategy[Typed]:
    """Return arrays and dictionaries of one value: elements have one type."""
    kind, sent, found = typed
    if kind == "y":
        return st.binary(max_size=9).map(lambda value: ("ay", value, value))
    arrays = st.integers(0, 3).map(lambda count: (f"a{kind}", [sent] * count, [found] * count))
    mappings = st.lists(TEXT, max_size=3, unique=True).map(
        lambda keys: (f"a{{s{kind}}}", dict.fromkeys(keys, sent), dict.fromkeys(keys, found))
    )
    return arrays | mappings


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    structures = st.lists(inner, min_size=1, max_size=3).map(
        lambda parts: (
            f"({''.join(kind for kind, _, _ in parts)})",
            [sent for _, sent, _ in parts],
            [found for _, _, found in parts],
        )
    )
    variants = inner.map(lambda typed: ("v", Variant(typed[0], typed[1]), typed[2]))
    return structures | variants | inner.flatmap(several)


VALUES = st.recursive(BASIC, containers, max_leaves=8)


def body(signature: str, values: list[Any]) -> bytes:
    """Return the marshalled body of a message."""
    data = bytes(Message(path="/", interface="a.b", member="C", signature=signature, body=values)._marshall())
    (length,) = struct.unpack_from("<I", data, 4)
    return data[len(data) - length :] if length else b""


@given(st.lists(VALUES, max_size=3))
def test_values_are_read_as_they_were_written(values: list[Typed]) -> None:
    signature = "".join(kind for kind, _, _ in values)
    assert read("<", signature, body(signature, [sent for _, sent, _ in values])) == [found for _, _, found in values]


@given(st.dictionaries(TEXT, VALUES, max_size=5), TEXT, st.data())
def test_keys_that_are_not_wanted_are_skipped(values: dict[str, Typed], text: str, data: st.DataObject) -> None:
    sent = {key: Variant(kind, value) for key, (kind, value, _) in values.items()}
    found = {key: value for key, (_, _, value) in values.items()}
    kinds = {key: (kind, value) for key, (kind, _, value) in values.items()}
    whole = body("sa{sv}as", [text, sent, [text]])
    assert read("<", "sa{sv}as", whole) == [text, found, [text]]
    assert read("<", "sa{sv}as", whole, signatures=True) == [text, kinds, [text]]
    wanted = frozenset(data.draw(st.lists(st.sampled_from(sorted(values)) if values else TEXT)))
    some = {key: value for key, value in found.items() if key in wanted}
    assert read("<", "sa{sv}as", whole, wanted=wanted) == [text, some, [text]]


@given(st.lists(VALUES, min_size=1, max_size=3), st.data())
def test_a_body_that_is_cut_off_is_refused(values: list[Typed], data: st.DataObject) -> None:
    signature = "".join(kind for kind, _, _ in values)
    whole = body(signature, [sent for _, sent, _ in values])
    with pytest.raises(Unreadable):
        read("<", signature, whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.text("ybnqiuxtdsogva(){}hz", max_size=6), st.binary(max_size=64), st.booleans())
def test_anything_is_read_or_refused(signature: str, data: bytes, wanted: bool) -> None:
    try:
        read("<", signature, data, wanted=frozenset() if wanted else None)
    except Unreadable:
        return


@pytest.mark.parametrize("signature", ["a" * 200 + "y", "(" * 200 + "y" + ")" * 200, "()", "a{sv", "a", "(y", "{sv}"])
def test_malformed_signatures_are_refused(signature: str) -> None:
    with pytest.raises(Unreadable):
        read("<", signature, bytes(4096))


@given(st.lists(TEXT, max_size=4), st.integers(1, 2**32 - 1))
def test_strings_are_written_as_dbus_next_writes_them(body: list[str], serial: int) -> None:
    fields: dict[str, Any] = {"path": "/org/example", "interface": "a.b", "member": "C", "signature": "s" * len(body)}
    assert marshal(body, serial=serial, **fields) == bytes(Message(body=body, serial=serial, **fields)._marshall())


def test_the_byte_order_is_that_of_the_sender() -> None:
    assert read(">", "u(q)", struct.pack(">IxxxxH", 7, 8)) == [7, [8]]
