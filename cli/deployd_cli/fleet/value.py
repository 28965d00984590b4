"""The fields of one JSON object in etcd. Everyone with access to etcd can write there, so each field is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from deployd.errors import Refused
from deployd_cli.fleet.keys import ALLOWED_HOST_NAME, HOST_NAME

LONGEST_TEXT = 4096
"""Characters of one text, enough for the reason of a failure."""
LARGEST = 2**63 - 1
"""Of a number: mod_revisions are int64 in etcd."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of the object at `key`. All methods raise Refused with a sentence that names key and field."""

    key: str
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, key: str, text: str) -> Fields:
        """Parse the value of a key. Raises Refused."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(f"{key}: the value must be a JSON object; only deployd may write this key")
        return cls(key, value)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.fields.get(name, default)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            self.wrong(name, f"a text of at most {LONGEST_TEXT} characters")
        return value

    def number(self, name: str, default: int | None = None, least: int = 0) -> int:
        value = self.fields.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
            self.wrong(name, f"a whole number of at least {least}")
        return value

    def seconds(self, name: str) -> float:
        value = self.fields.get(name, 0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            self.wrong(name, "a number of seconds")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.fields.get(name, False)
        if not isinstance(value, bool):
            self.wrong(name, "true or false")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.fields.get(name, default)
        if value not in allowed:
            self.wrong(name, "one of " + ", ".join(f"'{item}'" for item in allowed))
        return str(value)

    def hosts(self, name: str) -> tuple[str, ...]:
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(
            isinstance(item, str) and HOST_NAME.fullmatch(item) for item in value
        ):
            self.wrong(name, f"a list of names of hosts ({ALLOWED_HOST_NAME})")
        if len(set(value)) != len(value):
            self.wrong(name, "a list without a name that is there twice")
        return tuple(value)

    def sizes(self, name: str) -> tuple[int, ...]:
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(type(item) is int and 1 <= item <= LARGEST for item in value):
            self.wrong(name, "a list of whole numbers of at least 1")
        return tuple(value)

    def wrong(self, name: str, allowed: str) -> NoReturn:
        raise Refused(f"{self.key}: {name} must be {allowed}; only deployd may write this key")


def text_of(value: Mapping[str, Any]) -> str:
    """Return the text of an object, the same for the same object and without needless bytes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
