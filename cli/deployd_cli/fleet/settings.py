"""/etc/deployd/fleet.toml: where etcd is, the name of this host, and the apps that it rolls out with the fleet."""

from __future__ import annotations

import os
import re
import socket
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from deployd.errors import InvalidFile
from deployd.model.app_name import name_problem
from deployd_cli.fleet.archive import ALLOWED_SOURCE, SOURCE
from deployd_cli.fleet.gateway import Access
from deployd_cli.fleet.keys import ALLOWED_HOST_NAME, HOST_NAME

PATH = Path("/etc/deployd/fleet.toml")
CREDENTIALS = Path("/etc/credstore")
"""Where LoadCredential= finds credentials by their names (systemd.exec(5)), and a command of root, too."""
PASSWORD = "deployd.etcd-password"  # noqa: S105 - the name of a credential
LARGEST_SECRET = 1 << 16
ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
PREFIX = re.compile(r"/[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
EXAMPLE = '["https://10.0.0.1:2379"]'


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The file, with the secrets that it names."""

    access: Access
    prefix: str
    name: str
    """Of this host in the fleet."""
    apps: tuple[str, ...]
    archives: tuple[str, ...] = ()
    """Directories and URLs, each with a slash at its end, below which archives of releases may be."""

    @classmethod
    def load(cls, path: Path = PATH, environment: Mapping[str, str] = os.environ) -> FleetSettings:
        """Read the file and its secrets. Raises InvalidFile with one sentence that names file and key."""
        try:
            text = path.read_text()
        except FileNotFoundError:
            raise InvalidFile(
                f"{path} does not exist; write one with the endpoints of your etcd, such as: endpoints = {EXAMPLE}"
            ) from None
        except UnicodeDecodeError:
            raise InvalidFile(f"{path} is not UTF-8") from None
        except OSError as error:
            raise InvalidFile(f"{path} cannot be read: {error.strerror}") from None
        return cls.parse(text, path, environment)

    @classmethod
    def parse(cls, text: str, path: Path = PATH, environment: Mapping[str, str] = os.environ) -> FleetSettings:
        """Return the settings that the text of the file has. Raises InvalidFile."""
        try:
            table = _Table(path, "", tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InvalidFile(f"{path} is not TOML: {error}") from None
        table.only("endpoints", "prefix", "name", "apps", "archives", "user", "password_file", "tls")
        endpoints = tuple(url.rstrip("/") for url in table.texts("endpoints"))
        if not endpoints or not all(ENDPOINT.fullmatch(url) for url in endpoints):
            table.wrong("endpoints", f"a list of URLs without a path, all members of one etcd, such as {EXAMPLE}")
        schemes = {url.partition(":")[0] for url in endpoints}
        if len(schemes) > 1:
            table.wrong("endpoints", "URLs that all begin with https, or all with http")
        prefix = table.text("prefix", "/deployd").rstrip("/")
        if not PREFIX.fullmatch(prefix):
            table.wrong("prefix", "a path of letters, digits and . _ -, such as /deployd")
        name = table.text("name", socket.gethostname())
        if not HOST_NAME.fullmatch(name):
            table.wrong("name", f"{ALLOWED_HOST_NAME}; by default it is the host name")
        apps = table.texts("apps", ())
        if problem := next(filter(None, map(name_problem, apps)), ""):
            raise InvalidFile(f"{path}: apps: {problem}")
        archives = tuple(f"{place.rstrip('/')}/" for place in table.texts("archives", ()))
        if not all(SOURCE.fullmatch(place) for place in archives):
            table.wrong("archives", f"a list of places, each of which is {ALLOWED_SOURCE}")
        secrets = _Secrets(path, environment.get("CREDENTIALS_DIRECTORY"))
        user = table.text("user", "")
        password = secrets.text(table, "password_file", PASSWORD) if user else ""
        if not user and table.has("password_file"):
            table.wrong("user", "there if password_file is")
        context = _context(table.table("tls"), secrets, https=schemes == {"https"})
        access = Access(endpoints, context, user, password)
        return cls(access, prefix, name, tuple(dict.fromkeys(apps)), archives)


@dataclass(frozen=True, slots=True)
class _Table:
    path: Path
    name: str
    """"tls." in the table of that name."""
    values: Mapping[str, Any]

    def only(self, *keys: str) -> None:
        for key in self.values:
            if key not in keys:
                raise InvalidFile(f"{self.path}: {self.name}{key} is unknown; allowed are {', '.join(keys)}")

    def has(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str, default: str) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str) or not value.isprintable():
            self.wrong(key, "a string")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self.values.get(key, None if default is None else list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(key, "a list of strings")
        return tuple(value)

    def table(self, key: str) -> _Table:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, "a table")
        return _Table(self.path, f"{key}.", value)

    def wrong(self, key: str, allowed: str) -> NoReturn:
        raise InvalidFile(f"{self.path}: {self.name}{key} must be {allowed}")


@dataclass(frozen=True, slots=True)
class _Secrets:
    """Files by an absolute path, or by the name of a credential."""

    path: Path
    directory: str | None
    """$CREDENTIALS_DIRECTORY of the service."""

    def place(self, table: _Table, key: str, default: str) -> Path:
        name = table.text(key, default)
        if name.startswith("/"):
            return Path(name)
        if "/" in name or name in ("", ".", ".."):
            table.wrong(key, "an absolute path, or the name of a credential")
        return Path(self.directory or CREDENTIALS, name)

    def text(self, table: _Table, key: str, default: str) -> str:
        """Return the first line of a secret. Raises InvalidFile."""
        place = self.place(table, key, default)
        try:
            with place.open("rb") as file:
                return file.read(LARGEST_SECRET).decode().partition("\n")[0]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidFile(f"{self.path}: {table.name}{key}: {place} cannot be read: {reason}") from None


def _context(table: _Table, secrets: _Secrets, *, https: bool) -> ssl.SSLContext | None:
    """Return how members are verified, and what they are shown; None for http. Raises InvalidFile."""
    table.only("ca", "cert", "key")
    if not https:
        if table.values:
            raise InvalidFile(f"{table.path}: tls is for endpoints that begin with https; theirs begin with http")
        return None
    if table.has("key") and not table.has("cert"):
        table.wrong("cert", "there if key is")
    key = "ca"
    try:
        context = ssl.create_default_context(cafile=str(secrets.place(table, "ca", "")) if table.has("ca") else None)
        if table.has("cert"):
            key = "cert"
            certificate = secrets.place(table, "cert", "")
            private = secrets.place(table, "key", "") if table.has("key") else certificate
            context.load_cert_chain(certificate, private, password="")  # never ask a terminal
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise InvalidFile(f"{table.path}: tls.{key}: the certificate or its key cannot be used: {reason}") from None
    return context
