"""The program is assembled and loaded, or the error says why not. Needs CAP_BPF."""

from __future__ import annotations

import ctypes
import errno
import os
import re

import pytest

from deployd.reuseport import loading, program, syscalls
from deployd.reuseport.assembler import R0, R1, Assembler
from tests.reuseport.sockets import (
    ground,
    steering,
    weighted,
)


def test_the_words_of_the_verifier_are_in_the_error() -> None:
    do = Assembler()
    do.load(0x18, R0, R1, 4096)
    do.exit()
    kind = loading.Kind.SK_REUSEPORT
    with pytest.raises(OSError, match="Permission denied") as caught:
        loading.load(kind, "wrong", do.code)
    said = str(loading.refused(kind, "wrong", do.code, caught.value))
    assert re.fullmatch(r"cannot load .*: .*\(the verifier says: .*invalid bpf_context access.*", said)


def test_before_linux_5_14_the_program_is_loaded_without_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, bpf = [], syscalls.bpf

    def older(command: int, attributes: ctypes.Structure) -> int:
        if command == loading.PROG_LOAD and attributes.kind == loading.Kind.SK_REUSEPORT:
            tried.append(attributes.attach_type)
            if attributes.attach_type == program.SELECT_OR_MIGRATE:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return bpf(command, attributes)

    monkeypatch.setattr(syscalls, "bpf", older)
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({2: 1}, []))
        app.sync(place.listeners())
        assert tried == [40, 0]
        assert place.chosen() == 2


def test_a_label_is_set_exactly_once() -> None:
    do = Assembler()
    do.jump("there")
    with pytest.raises(ValueError, match="there is not set"):
        _ = do.code
    do.label("there")
    assert do.code == b"\x05\0\0\0\0\0\0\0"
    with pytest.raises(ValueError, match="there is set twice"):
        do.label("there")
