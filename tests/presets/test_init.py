"""deployd init and deployd presets, which need no daemon."""

from __future__ import annotations

import json
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.model.scope import SYSTEM
from deployd_cli.chosen import Chosen
from deployd_cli.main import main
from deployd_cli.presets import installed
from tests.docs import readme
from tests.presets.projects import CATALOG


@pytest.fixture
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of app files."""
    scope = replace(SYSTEM, configuration=tmp_path)
    scope.apps.mkdir()
    monkeypatch.setattr(Chosen, "scope", scope)
    monkeypatch.setattr(installed, "INTEGRATIONS", (tmp_path / "none", tmp_path))
    return scope.apps


@pytest.fixture
def release(tmp_path: Path) -> Path:
    directory = tmp_path / "v1"
    directory.mkdir()
    (directory / "requirements.txt").write_text("flask==3.1\n")
    (directory / "web.py").write_text('from flask import Flask\napp = Flask(__name__)\n@app.get("/up")\n')
    return directory


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_it_writes_an_app_file_and_says_why(apps: Path, release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "shop", "--release", str(release), "--instances", "3", "--user", "nobody"]) == 0
    file = apps / "shop.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    raw = tomllib.loads(file.read_text())
    assert (raw["release"], raw["instances"], raw["user"]) == (str(release), 3, "nobody")
    assert (raw["exec"][-1], raw["gate"]) == ("web:app", {"probe": {"http": "/up"}})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "shop: preset gunicorn (gunicorn with threads): web.py has a WSGI application",
        "shop: wsgi is web:app, from web.py",
        "shop: look at python: /usr/bin/python3 is a guess; it should be the interpreter that has gunicorn; of a"
        " virtual environment in the release: venv/bin/python",
        "shop: probe is /up, from web.py",
        "shop: look at the dependencies: none of them is gunicorn, which exec needs",
        "shop: its limits and notes: deployd presets gunicorn",
        f"shop: {file} is written",
        "shop: next: deployd check shop, then deployd apply shop",
    ]
    assert names(apps) == ["shop.toml"]


def test_files_that_a_server_loads(
    apps: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for found in (tmp_path, tmp_path / "none"):
        monkeypatch.setattr(installed, "INTEGRATIONS", (found, Path("/no/such")))
        assert main(["init", "shop", "--release", str(release), "--force"]) == 0
        assert f"{found}/gunicorn.conf.py" in tomllib.loads((apps / "shop.toml").read_text())["exec"]
        missing = f"exec needs {found}, which is missing; deployd setup puts it there"
        assert (missing in capsys.readouterr().err) == (not found.is_dir())


def test_an_existing_file_is_kept_unless_forced(apps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = apps / "shop.toml"
    file.write_text("mine")
    assert main(["init", "shop", "--preset", "puma"]) == 3
    assert f"deployd: {file} exists already; edit it, or replace it with --force\n" in capsys.readouterr().err
    assert (file.read_text(), names(apps)) == ("mine", ["shop.toml"])
    assert main(["init", "shop", "--preset", "puma", "--force"]) == 0
    assert 'release = "/srv/shop/current"' in file.read_text()
    assert names(apps) == ["shop.toml"]


def test_it_prints_with_a_dash(apps: Path, release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "shop", "--release", str(release), "--listen", "[::1]:0080", "--output", "-"]) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out)["listen"] == ["[::1]:80"]
    assert "next:" not in err
    assert not names(apps)


def test_another_file_has_to_be_copied(apps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "x.toml"
    assert main(["init", "shop", "--preset", "nginx", "--output", str(other)]) == 0
    assert f"shop: {other} is written; copy it to {apps}/shop.toml" in capsys.readouterr().err


def test_a_directory_that_is_missing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "shop", "--preset", "nginx", "--output", str(tmp_path / "no/x.toml")]) == 1
    assert "no/x.toml cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.usefixtures("apps")
def test_without_a_release_a_preset_has_to_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["init", "no.such-app"]) == 3
    assert "the release /srv/no.such-app/current cannot be read: No such file" in capsys.readouterr().err
    assert main(["init", "shop", "--release", str(tmp_path)]) == 3
    assert "says which server it runs (Procfile, Gemfile," in capsys.readouterr().err
    assert main(["init", "no.such-app", "--preset", "pume"]) == 2
    assert 'there is no preset "pume"; did you mean puma?' in capsys.readouterr().err


@pytest.mark.usefixtures("apps")
def test_runserver_of_django_is_refused_with_a_reason(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "manage.py").write_text('("DJANGO_SETTINGS_MODULE", "site1.settings")')
    (release / "site1").mkdir()
    (release / "site1/wsgi.py").write_text("application = get_wsgi_application()")
    (release / "Procfile").write_text("web: python manage.py runserver 0.0.0.0:$PORT")
    assert main(["init", "shop", "--release", str(release), "--output", "-"]) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out)["exec"][-1] == "site1.wsgi:application"
    assert "starts runserver, the development server of Django: it reloads itself and cuts off requests" in err


def test_the_table_of_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["PRESET", "SOCKET", "GATE", "FOR"]
    assert [row.split()[0] for row in rows] == list(CATALOG.presets)


@pytest.mark.parametrize("name", CATALOG.presets)
def test_everything_about_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: {CATALOG.get(name).title}, ")
    assert main(["presets", name, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {
        *("name", "title", "summary", "socket", "gate", "stop", "keep_alive", "websockets", "versions"),
        *("notes", "measured"),
    }
    assert all(note in out for note in answer["notes"])


def test_all_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--json"]) == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)["presets"]] == list(CATALOG.presets)


def test_the_example_of_the_readme(apps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "current"
    (directory / "config").mkdir(parents=True)
    (directory / "Gemfile").write_text('gem "rails"\n')
    (directory / "Gemfile.lock").write_text("GEM\n  specs:\n    puma (6.4.2)\n    rails (7.1.3)\n")
    (directory / "config/routes.rb").write_text('get "up" => "rails/health#show", as: :rails_health_check\n')
    assert main(["init", "shop", "--release", str(directory)]) == 0
    said = capsys.readouterr().err.replace(str(apps), "/etc/deployd/apps").splitlines()
    section = readme.text().partition("## Two minutes\n")[2].partition("\n## ")[0]
    shown = [line.strip() for line in section.splitlines() if line.startswith("    shop: ")]
    assert [line for line in said if "bundle" not in line] == shown
