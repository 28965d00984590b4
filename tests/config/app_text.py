"""Parses texts of app files for tests."""

from __future__ import annotations

import pytest

from deployd import config
from deployd.errors import InvalidFile
from deployd.model.app import App

TOP = {"release": '"/srv/web"', "exec": '["bin/web"]', "listen": '["127.0.0.1:80"]'}
FILE = "/etc/deployd/apps/web.toml"


def parse(more: str = "", **top: str) -> App:
    """Parse a file with the three mandatory keys, changed by `top`, followed by `more`."""
    lines = [f"{key} = {value}" for key, value in (TOP | top).items() if value]
    return config.parse("web", "\n".join([*lines, more]), FILE)


def refusal(more: str = "", **top: str) -> str:
    """Return the sentence that refuses a file, without the path with which it must begin."""
    with pytest.raises(InvalidFile) as caught:
        parse(more, **top)
    sentence = str(caught.value)
    assert sentence.startswith(FILE)
    assert "\n" not in sentence
    return sentence.removeprefix(FILE)
