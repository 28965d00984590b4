"""Names of units read back, belong to one app, and are encoded as sd-bus does it."""

from __future__ import annotations

import ctypes
import fnmatch
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from deployd.model import unit_name
from deployd.model.app import NAME

apps = st.one_of(st.from_regex(NAME, fullmatch=True), st.sampled_from(["a", "a.b", "a-1", "a.service", "9.socket"]))
numbers = st.integers(1, 1023)

NUMBERED: list[tuple[Callable[[str, int], str], Callable[[str, str], int | None]]] = [
    (unit_name.instance, unit_name.instance_number),
    (unit_name.instance_socket, unit_name.instance_socket_number),
    (unit_name.generation_socket, unit_name.generation_socket_number),
    (unit_name.shared_socket, unit_name.shared_socket_count),
]


def every_name(app: str, number: int) -> list[str]:
    return [
        unit_name.app_unit(app),
        unit_name.template(app),
        unit_name.instance(app, number),
        unit_name.shared_socket(app, number),
        unit_name.service_of(unit_name.shared_socket(app, number)),
        unit_name.instance_socket(app, number),
        unit_name.instance_socket_starter(app, number),
        unit_name.generation_socket(app, number),
        unit_name.generation_socket_starter(app, number),
        unit_name.probe_socket(app, number),
        unit_name.probe_command(app, number, "7-1"),
        unit_name.hook(app),
        unit_name.analysis(app),
    ]


@given(apps, numbers)
def test_each_name_says_of_which_app_it_is(app: str, number: int) -> None:
    assert {unit_name.app(name) for name in every_name(app, number)} == {app}


@given(apps, numbers)
def test_the_names_are_those_of_the_contract(app: str, number: int) -> None:
    assert every_name(app, number) == [
        f"{app}.service",
        f"{app}@.service",
        f"{app}@{number}.service",
        f"{app}.socket" if number == 1 else f"{app}:{number}.socket",
        f"{app}.service" if number == 1 else f"{app}:{number}.service",
        f"{app}@{number}.socket",
        f"{app}:start@{number}.service",
        f"{app}:unix@{number}.socket",
        f"{app}:start@unix-{number}.service",
        f"{app}:probe@{number}.socket",
        f"{app}:probe-{number}-7-1.service",
        f"{app}:hook.service",
        f"{app}:analysis.service",
    ]


@given(apps, numbers)
def test_a_number_is_read_from_its_own_kind_of_name_only(app: str, number: int) -> None:
    for make, read in NUMBERED:
        name = make(app, number)
        assert [read(app, other) for other in every_name(app, number)].count(number) == 1
        assert read(app, name) == number


@given(apps, apps, numbers)
@example("b", "a.b", 1)
@example("a.service", "a", 1)
@example("aXb", "a.b", 1)
def test_a_name_belongs_to_one_app(app: str, other: str, number: int) -> None:
    assume(app != other)
    for name in every_name(other, number):
        assert all(read(app, name) is None for _, read in NUMBERED)
        assert not unit_name.belongs_to_instances(app, name)
        assert not any(fnmatch.fnmatchcase(name, pattern) for pattern in unit_name.patterns(app))
    assert not unit_name.instance_numbers(app, " ".join(every_name(other, number)))


@given(apps, numbers)
def test_the_patterns_match_every_unit_of_the_app(app: str, number: int) -> None:
    for name in every_name(app, number):
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in unit_name.patterns(app))


@pytest.mark.parametrize("text", ["0", "01", "-1", "1x", "", "%i", "²", "1\n", "1.service"])
@pytest.mark.parametrize(("make", "read"), NUMBERED)
def test_instances_without_a_valid_number_are_not_recognised(
    make: Callable[[str, str], str], read: Callable[[str, str], int | None], text: str
) -> None:
    assert read("web", make("web", text)) is None


@pytest.mark.parametrize("unit", ["web:1.socket", "web:2.service", "web:probe@1.socket", "web2.socket", "xweb.socket"])
def test_other_units_are_no_shared_sockets(unit: str) -> None:
    assert unit_name.shared_socket_count("web", unit) is None


def test_instances_are_found_in_the_text_of_a_unit() -> None:
    text = "[Unit]\nWants=a.b@1.service a.b@20.service\nAfter=a.b@3.service xa.b@4.service aXb@5.service a.b@6.socket\n"
    assert unit_name.instance_numbers("a.b", text) == [1, 20, 3]


@given(apps, numbers)
def test_an_instance_is_known_without_its_app(app: str, number: int) -> None:
    instance = unit_name.instance(app, number)
    assert [name for name in every_name(app, number) if unit_name.is_instance(name)] == [instance]
    assert {unit_name.app_of_template(name) for name in every_name(app, number)} == {app, None}


@given(apps, st.from_regex(r"[a-z0-9]+", fullmatch=True))
def test_a_label_reads_back(app: str, label: str) -> None:
    assert unit_name.label(unit_name.labelled(app, label)) == label
    assert unit_name.label(unit_name.instance(app, label)) == label
    assert unit_name.label(unit_name.app_unit(app)) == ""


@given(apps, numbers)
def test_a_socket_and_its_service_lead_to_each_other(app: str, number: int) -> None:
    socket = unit_name.shared_socket(app, number)
    assert unit_name.socket_of(unit_name.service_of(socket)) == socket
    assert unit_name.is_socket(socket)
    assert not unit_name.is_socket(unit_name.service_of(socket))
    assert unit_name.is_service(unit_name.service_of(socket))
    assert not unit_name.is_service(socket)


def test_units_of_a_template_have_one_pattern() -> None:
    units = ["a@1.service", "a@20.service", "a.service", "a@3.socket", "a:2.socket", "b@1.service"]
    assert unit_name.common_patterns(units) == ["a.service", "a:2.socket", "a@*.service", "a@*.socket", "b@*.service"]


@pytest.mark.parametrize(
    ("label", "encoded"),
    [
        ("demo@1.service", "demo_401_2eservice"),
        ("1st-app", "_31st_2dapp"),
        ("", "_"),
        ("a_b", "a_5fb"),
        ("ä", "_c3_a4"),
    ],
)
def test_the_last_element_of_a_path_is_encoded(label: str, encoded: str) -> None:
    assert unit_name.path_encode(label) == encoded


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_last_element_of_a_path_reads_back(label: str) -> None:
    assert unit_name.path_decode(unit_name.path_encode(label)) == label


@given(st.binary(max_size=30).filter(lambda data: b"\0" not in data))
def test_encoding_is_that_of_sd_bus(data: bytes) -> None:
    library = ctypes.CDLL("libsystemd.so.0")
    found = ctypes.c_char_p()
    assert library.sd_bus_path_encode(b"/unit", data, ctypes.byref(found)) == 0
    assert found.value == b"/unit/" + unit_name.path_encode(data.decode(errors="surrogateescape")).encode()


@given(apps, st.from_regex(r"[a-z][a-z0-9-]*", fullmatch=True))
def test_timers_are_named_after_their_app(app: str, name: str) -> None:
    for unit in (unit_name.timer(app, name), unit_name.timer_service(app, name)):
        assert unit_name.timer_name(app, unit) == name
        assert unit_name.app(unit) == app
    others = (unit_name.hook(app), unit_name.run(app, "1"), unit_name.health(app), unit_name.probe_command(app, 1, "2"))
    for unit in others:
        label = unit_name.label(unit)
        assert unit_name.is_taken(label)
