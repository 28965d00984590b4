"""Texts of app files for tests: what a text is parsed into, or the sentence that refuses it."""

from __future__ import annotations

import pytest

from deployd import config
from deployd.errors import InvalidFile
from deployd.model.app import App

TOP = {"release": '"/srv/web"', "exec": '["bin/web"]', "listen": '["127.0.0.1:80"]'}
FILE = "/etc/deployd/apps/web.toml"


def parse(more: str = "", **top: str) -> App:
    """A file with the three keys it must have, changed by `top`, and `more` after them."""
    lines = [f"{key} = {value}" for key, value in (TOP | top).items() if value]
    return config.parse("web", "\n".join([*lines, more]), FILE)


def refusal(more: str = "", **top: str) -> str:
    """The sentence that refuses a file. Whatever is wrong, it names the file and says what to do."""
    with pytest.raises(InvalidFile) as caught:
        parse(more, **top)
    sentence = str(caught.value)
    assert sentence.startswith(FILE)
    assert "\n" not in sentence
    return sentence.removeprefix(FILE)
