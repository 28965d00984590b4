"""Directories of the files to which instances write."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployd.config.output_files import doubtful_outputs
from deployd.errors import Refused
from tests.config.app_text import parse


def service(*lines: str) -> str:
    return "\n".join(["[service]", *lines])


def test_a_directory_that_is_there_is_no_trouble(tmp_path: Path) -> None:
    for value in (f"append:{tmp_path}/%i.log", f"file:{tmp_path}/%i", "journal", "null", "file:/nowhere%i/log"):
        assert doubtful_outputs(parse(service(f'StandardOutput = "{value}"'))) == ()


@pytest.mark.parametrize("key", ["StandardOutput", "StandardError"])
def test_a_missing_directory_is_refused_with_its_name(tmp_path: Path, key: str) -> None:
    app = parse(service(f'{key} = "append:{tmp_path}/100%%/%i.log"'))
    with pytest.raises(Refused, match=f"^{key} of .* names .*; create it, because systemd does not$") as caught:
        doubtful_outputs(app)
    assert f"there is no directory {tmp_path}/100%;" in str(caught.value)


def test_a_directory_that_systemd_will_make_is_doubtful() -> None:
    (sentence,) = doubtful_outputs(
        parse(service('LogsDirectory = "web-test"', 'StandardOutput = "append:/var/log/web-test/log"'))
    )
    assert "there is no directory /var/log/web-test; create it" in sentence
