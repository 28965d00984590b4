"""What deployd setup has installed, as JSON in the state directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from deployd.errors import DeploydError
from deployd_cli import file_writer


@dataclass(frozen=True, slots=True)
class Record:
    """What has been installed, by which version."""

    version: str = ""
    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    """Those that setup has created."""


def load(path: Path) -> Record | None:
    """Return the record; None if nothing was installed. Raises DeploydError."""
    try:
        found = json.loads(path.read_bytes())
        record = Record(found["version"], tuple(found["files"]), tuple(found["directories"]))
        if not all(isinstance(each, str) and each.startswith("/") for each in record.files + record.directories):
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeploydError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise DeploydError(f"{path} is damaged; remove it and the files that deployd setup has installed") from None
    return record


def save(path: Path, record: Record) -> None:
    """Write the record. Raises DeploydError."""
    file_writer.write(path, json.dumps(asdict(record), indent=1) + "\n", replace=True)
