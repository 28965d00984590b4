"""The archive of a release, which hosts of a fleet that do not have the release unpack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

SHA256 = re.compile(r"[0-9a-f]{64}")
SOURCE = re.compile(r"(?:https?:/)?/[!-~]+")
ALLOWED_SOURCE = "an absolute path, or a URL that begins with https:// or http://, of visible ASCII characters"


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar archive, as `deployd deploy` takes it."""

    source: str
    """An absolute path or a URL, the same for all hosts."""
    sha256: str

    def problem(self) -> str:
        """Return what is wrong with it, "" if nothing is."""
        if not SOURCE.fullmatch(self.source):
            return f"the archive must be {ALLOWED_SOURCE}"
        if not SHA256.fullmatch(self.sha256):
            return "the SHA-256 of an archive must be 64 digits and letters from a to f, as sha256sum prints them"
        return ""

    def is_below(self, places: Sequence[str]) -> bool:
        """True if it is below one of these directories and URLs, which end with a slash."""
        parts = unquote(self.source).split("/")
        return not {".", ".."} & set(parts) and self.source.startswith(tuple(places))
