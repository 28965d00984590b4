"""Which socket unit has which address: an open address that is wanted is never closed or opened a second time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd.model import unit_name
from deployd.model.app import App, Listen, ListenKind
from deployd.units.text import is_unit, sockets, unit_files
from deployd.units.text.sockets import Placement, Socket

ADDRESSES = ["80", "127.0.0.1:81", "[::1]:82", "/run/a b%.sock", "0.0.0.0:84", "85"]
addresses = st.lists(st.sampled_from(ADDRESSES), min_size=1, unique=True)


@st.composite
def installations(draw: st.DrawFn) -> list[Socket]:
    """Shared sockets of the app `web` with some of the addresses, each address in one of them."""
    shuffled = draw(st.permutations(ADDRESSES))
    numbers = draw(st.lists(st.integers(1, 12), max_size=4, unique=True))
    cuts = sorted(
        draw(st.lists(st.integers(1, len(shuffled)), min_size=len(numbers), max_size=len(numbers), unique=True))
    )
    parts = zip([0, *cuts], cuts, strict=False)
    return [
        Socket(unit_name.shared_socket("web", number), tuple(shuffled[start:end]))
        for number, (start, end) in zip(numbers, parts, strict=True)
    ]


def place(installed: list[Socket], listen: list[str]) -> Placement | None:
    try:
        return sockets.place("web", installed, listen)
    except Refused:
        return None


@given(installations(), addresses)
def test_wanted_addresses_are_open_once_and_others_are_closed(installed: list[Socket], listen: list[str]) -> None:
    torn = [item for item in installed if set(item.addresses) & set(listen) and set(item.addresses) - set(listen)]
    placement = place(installed, listen)
    assert (placement is None) == bool(torn)
    if placement is None:
        return
    assert sorted(address for item in placement.wanted for address in item.addresses) == sorted(listen)
    assert {*placement.kept, *placement.going} == set(installed)
    assert not {address for item in placement.going for address in item.addresses} & set(listen)
    if placement.new is not None:
        assert placement.new.name not in {item.name for item in installed}
        assert list(placement.new.addresses) == [item for item in listen if item in placement.new.addresses]
        # Its service is the app unit: while that is active the socket cannot be opened.
        assert (placement.new.name == "web.socket") == (not installed)


@given(installations(), addresses)
def test_placing_a_second_time_changes_nothing(installed: list[Socket], listen: list[str]) -> None:
    """As a daemon does after the one before was killed when the new unit was installed."""
    first = place(installed, listen)
    if first is not None:
        again = place([*first.wanted, *first.going], listen)
        assert again is not None
        assert again.new is None
        assert set(again.kept) == set(first.wanted)
        assert again.going == first.going


@given(installations(), addresses)
def test_a_rollback_finds_its_addresses_open(installed: list[Socket], listen: list[str]) -> None:
    before = [address for item in installed for address in item.addresses]
    there = place(installed, listen)
    if there is not None and installed:
        back = place([*there.wanted, *there.going], before)
        assert back is not None
        assert back.new is None
        assert set(back.kept) == set(installed)


def test_the_lowest_free_number_is_taken() -> None:
    installed = [Socket("web.socket", ("80",)), Socket("web:3.socket", ("83",))]
    placement = sockets.place("web", installed, ["84", "80", "85"])
    assert placement.new == Socket("web:2.socket", ("84", "85"))
    assert placement.kept == (installed[0],)
    assert placement.going == (installed[1],)


def test_a_unit_with_wanted_and_unwanted_addresses_is_refused() -> None:
    installed = [Socket("web.socket", ("80", "81", "/run/web.sock"))]
    sentence = (
        r"^listen of web drops 80 /run/web\.sock and keeps 81, but web\.socket has opened them together and"
        r" can only close them together; keep 80 /run/web\.sock in listen, or deployd remove web and apply it again$"
    )
    with pytest.raises(Refused, match=sentence):
        sockets.place("web", installed, ["81", "82"])


def test_two_spellings_of_an_address_are_equal() -> None:
    placement = sockets.place("web", [Socket("web.socket", ("80",))], ["[::]:80"])
    assert placement == Placement((Socket("web.socket", ("80",)),), None, ())


@given(installations().filter(bool))
def test_units_read_back(installed: list[Socket]) -> None:
    listening = sockets.in_order("web", installed)
    app = App("web", "/srv/web", ("/bin/web",), (Listen(ListenKind.TCP, "80"),))
    held = {item.name for item in listening[1:]}
    texts = {unit.name: unit.text for unit in unit_files(app, 1, "/s", listening=listening, held=held)}
    assert [sockets.parse(item.name, texts[item.name]) for item in listening] == list(listening)
    assert sockets.held("web", texts["web@.service"]) == held
    for item in listening:
        starter = unit_name.service_of(item.name)
        assert f"Service={starter}" in texts[item.name].splitlines()
        # The default is the name of the unit, whose ":" separates names in $LISTEN_FDNAMES.
        named = "FileDescriptorName=web.socket" in texts[item.name].splitlines()
        assert named == (item.name != "web.socket")
        if named:
            assert "BindsTo=web.service" in texts[starter].splitlines()
            assert not [line for line in texts[starter].splitlines() if line.startswith("ExecStart=")]
    assert all(is_unit("web", name) for name in texts)


def test_settings_are_the_lines_of_the_section() -> None:
    text = "# a\n[Unit]\nDescription=x\n\n[Socket]\nListenStream=80\n# why\nBacklog=1\n\n[Install]\nWantedBy=y\n"
    assert sockets.settings(text) == ["ListenStream=80", "Backlog=1"]
