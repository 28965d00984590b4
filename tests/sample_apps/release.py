"""Release directories of the demo application, and deployd app files that roll them out."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

APP = Path(__file__).parent / "demo" / "app.py"
NOTIFY = Path(__file__).parent / "notify.py"


def make_release(
    directory: Path,
    version: str,
    mode: str = "good",
    boot: float = 0.0,
    handler_ms: float | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write a release into `directory`, readable by all users.

    `files` are additional files, such as `grace` or a hook; those that start with `#!` are made executable.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    contents = {"VERSION": version, "mode": mode, "boot": str(boot)}
    if handler_ms is not None:
        contents["handler_ms"] = str(handler_ms)
    for name, text in {**contents, **(files or {})}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.endswith("\n") else text + "\n")
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    shutil.copyfile(APP, directory / "app.py")
    (directory / "app.py").chmod(0o644)
    return directory


def app_file(name: str, release: Path | str, port: int | str, instances: int = 4, **overrides: object) -> str:
    """Return the text of NAME.toml. An override is a key or a table (`gate={"timeout": "5s"}`); None omits it."""
    settings: dict[str, object] = {
        "release": str(release),
        "exec": ["/usr/bin/python3", "app.py"],
        "listen": [f"127.0.0.1:{port}" if isinstance(port, int) else port],
        "instances": instances,
        "routing": "shared",
        **overrides,
    }
    if isinstance(table := settings.get("rollout", {}), Mapping):
        # Tests crash instances on purpose after a rollout, which must not be taken for failures of the release.
        settings["rollout"] = {"watch": "0", **table}
    present = {key: value for key, value in settings.items() if value is not None}
    lines = [f"# {name}.toml"]
    lines += [f"{quoted_key(key)} = {toml(value)}" for key, value in present.items() if not isinstance(value, Mapping)]
    for key, table in present.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{quoted_key(key)}]"]
            lines += [f"{quoted_key(str(inner))} = {toml(value)}" for inner, value in table.items()]
    return "\n".join(lines) + "\n"


def quoted_key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else toml(key)


def toml(value: object) -> str:
    """Format a TOML value. JSON's strings, numbers and booleans are valid TOML, except for a raw DEL."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{quoted_key(str(key))} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
