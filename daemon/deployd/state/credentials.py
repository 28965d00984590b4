"""Copies of the credentials that generations start with. Only root can read them.

    STATE/credentials.key
    STATE/apps/NAME/credentials/DIGEST
    STATE/apps/NAME/generations/N/credential-001 -> ../../credentials/DIGEST

A copy is named after its contents, so generations share it. It lasts as long as one of them is in the history or on the
disk. Digests are keyed: wherever one is written, a weak password cannot be guessed from it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Collection
from pathlib import Path

from deployd.model.credential import FILE
from deployd.state.disk import Disk, reported

_KEY_SIZE = 32


class Credentials:
    """The copies of all apps below one state directory. `digest` and `keep` may be called in threads."""

    def __init__(self, state_dir: Path, disk: Disk) -> None:
        self._state = state_dir
        self._disk = disk
        self._key = b""
        self._lock = threading.Lock()

    def digest(self, data: bytes) -> str:
        """Return the digest of the contents of a credential. Raises StateError."""
        with self._lock, reported("read the key of the digests of credentials"):
            self._key = self._key or self._read_key()
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def has(self, app: str, digest: str) -> bool:
        """True if there is a copy with this digest."""
        return (self._directory(app) / digest).is_file()

    def keep(self, app: str, data: bytes) -> str:
        """Store a copy and return its digest. Raises StateError."""
        digest = self.digest(data)
        with self._lock, reported(f"store a credential of {app}"):
            directory = self._directory(app)
            if not directory.is_dir():
                self._disk.directories(directory.parent)
                self._disk.directory(directory, 0o700)
                self._disk.sync(directory.parent)
            self._disk.replace(directory / digest, data, 0o600)
        return digest

    def prune(self, app: str, needed: Collection[str]) -> None:
        """Remove copies that are neither `needed` nor linked to by a generation on the disk. Raises StateError."""
        directory = self._directory(app)
        with reported(f"remove old credentials of {app}"):
            if not directory.is_dir():
                return
            linked = directory.parent.glob(f"generations/*/{FILE}*")
            keep = {*needed, *(path.readlink().name for path in linked)}
            for path in directory.iterdir():
                if path.name not in keep and path.name[1:].removesuffix(".new") not in keep:
                    self._disk.remove(path)

    def _directory(self, app: str) -> Path:
        return self._state / "apps" / app / "credentials"

    def _read_key(self) -> bytes:
        path = self._state / "credentials.key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != _KEY_SIZE:
            key = secrets.token_bytes(_KEY_SIZE)
            self._disk.directories(path.parent)
            self._disk.replace(path, key, 0o600)
        return key
