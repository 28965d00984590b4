"""Reads the machine's sources of Debian packages, so that a root of another suite comes from the same mirror.

Mirror, keyring, proxy and certificates are those of the machine's apt.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

APT = Path("/etc/apt")

# Settings that apt needs to reach the mirror; others are not copied.
REACHING = re.compile(r"^Acquire::(https?|ftp|Retries|Check-|ForceIPv|Proxy|Languages)", re.IGNORECASE)


class SourcesError(Exception):
    """The machine's apt has no Debian archive."""


def debian_sources(suite: str) -> tuple[str, str]:
    """Return a deb822 source of `suite` like the machine's own, and the apt options to reach it."""
    own = codename()
    for stanza in _stanzas():
        # The archive itself, not its updates or security suites, and no third-party repository.
        if own in stanza.get("suites", "").split() and "main" in stanza.get("components", "").split():
            signed = stanza.get("signed-by") or "/usr/share/keyrings/debian-archive-keyring.gpg"
            lines = ["Types: deb", f"URIs: {stanza['uris']}", f"Suites: {suite}", "Components: main"]
            return "\n".join([*lines, f"Signed-By: {signed}", ""]), _options()
    raise SourcesError(f"no source in {APT} has the suite {own}, so there is no mirror for {suite}")


def codename() -> str:
    """Return the Debian release of this machine."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise SourcesError("/etc/os-release names no Debian release")


def _options() -> str:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True, timeout=30).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if REACHING.match(line) and not line.endswith(' "";'))


def _stanzas() -> Iterator[dict[str, str]]:
    """Yield all sources, of both formats, as deb822 fields with lower-case names."""
    for file in sorted(APT.glob("sources.list.d/*.sources")):
        text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
        for paragraph in re.split(r"\n\s*\n", text):
            lines = (line.partition(":") for line in paragraph.splitlines() if ":" in line and line[0] not in " \t")
            yield {key.strip().lower(): value.strip() for key, _, value in lines}
    for file in (APT / "sources.list", *sorted(APT.glob("sources.list.d/*.list"))):
        if not file.exists():
            continue
        for line in file.read_text().splitlines():
            found = re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s*(.*)", line)
            if found:
                options = dict(word.partition("=")[::2] for word in (found[1] or "").split())
                fields = {"uris": found[2], "suites": found[3], "components": found[4]}
                yield fields | {key.lower(): value for key, value in options.items()}
