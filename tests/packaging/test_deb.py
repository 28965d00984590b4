"""What the Debian package says of itself agrees with the project."""

from __future__ import annotations

import subprocess
import tomllib

from tests.docs.readme import CHECKOUT

DEBIAN = CHECKOUT / "packaging/debian"


def project_version() -> str:
    project: dict[str, str] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return project["version"]


def test_the_version_is_that_of_the_project() -> None:
    first, *_ = (DEBIAN / "changelog").read_text().splitlines()
    assert first == f"deployd ({project_version()}) unstable; urgency=medium"


def test_the_licence_is_that_of_the_project() -> None:
    paragraphs = (DEBIAN / "copyright").read_text().split("License: Expat\n")[-1]
    text = "\n".join(line.removeprefix(" ").removeprefix(".") for line in paragraphs.splitlines())
    assert text.split() == (CHECKOUT / "LICENSE").read_text().split("\n\n", 2)[2].split()


def test_its_scripts_are_correct() -> None:
    subprocess.run(
        ["shellcheck", DEBIAN / "deployd.prerm", DEBIAN / "deployd.postrm", CHECKOUT / "packaging/deb"], check=True
    )
