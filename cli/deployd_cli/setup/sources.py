"""Reads the files to install: those in the wheel, or those of the checkout."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from deployd.errors import DeploydError

_HERE = Path(__file__).resolve()
SHIPPED = (_HERE.parent / "files", _HERE.parents[3])
"""In a wheel the files are inside the package, in a checkout at its top, in the same directories."""
MANUAL = "packaging/man/"
MARKDOWN = ".md"
CONVERTER = "go-md2man"
MINUTE = 60.0


def base() -> Path | None:
    """Return the directory that has the directories of the sources; None for a deployd that a package installed."""
    return next((directory for directory in SHIPPED if (directory / "units").is_dir()), None)


def read(directory: Path, sources: Iterable[str]) -> tuple[dict[str, bytes], list[str]]:
    """Return the contents of each source by its path below the directory, and the manual pages that are missing.

    A manual page is converted from Markdown, unless it has been converted already, as in wheels and source archives.
    Raises DeploydError.
    """
    found: dict[str, bytes] = {}
    missing = []
    for path in sorted(path for source in sources for path in (directory / source).glob("*") if path.is_file()):
        name = str(path.relative_to(directory))
        page = name.removesuffix(MARKDOWN) if name.startswith(MANUAL) else name
        try:
            if page == name:
                found[name] = path.read_bytes()
            elif page in found:
                continue
            elif shutil.which(CONVERTER):
                found[page] = manual_page(page.removeprefix(MANUAL), path.read_text(encoding="utf-8"))
            else:
                missing.append(page.removeprefix(MANUAL))
        except OSError as error:
            raise DeploydError(f"{path} cannot be read: {error.strerror}") from None
    return found, missing


def manual_page(page: str, text: str) -> bytes:
    """Return a page, such as deployd.1, in roff. Raises DeploydError."""
    # go-md2man takes name and section from a line "% NAME SECTION"; groff 1.23 does not know its font C.
    name, _, section = page.rpartition(".")
    text = f"% {name} {section}\n" + text.partition("\n")[2]
    done = subprocess.run([CONVERTER], input=text.encode(), capture_output=True, check=False, timeout=MINUTE)
    if done.returncode:
        raise DeploydError(f"{CONVERTER} cannot convert {page}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.replace(rb"\fC", rb"\fB")
