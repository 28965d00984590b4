"""The settings of a fleet: what is read, and what is said of bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployd.errors import InvalidFile
from deployd_cli.fleet.settings import FleetSettings

ENDPOINTS = 'endpoints = ["http://10.0.0.1:2379", "http://[fd00::1]:2379/"]\n'


def test_all_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / "deployd.etcd-password").write_text("secret\n")
    text = ENDPOINTS + 'prefix = "/web/"\nname = "web1"\napps = ["shop", "blog", "shop"]\nuser = "fleet"\n'
    text += 'archives = ["https://example.org/shop", "/mnt/releases/"]\n'
    found = FleetSettings.parse(text, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (found.prefix, found.name, found.apps) == ("/web", "web1", ("shop", "blog"))
    assert found.access.endpoints == ("http://10.0.0.1:2379", "http://[fd00::1]:2379")
    assert (found.access.user, found.access.password, found.access.context) == ("fleet", "secret", None)
    assert found.archives == ("https://example.org/shop/", "/mnt/releases/")
    assert "secret" not in repr(found)


def test_most_keys_may_be_left_out() -> None:
    found = FleetSettings.parse(ENDPOINTS + 'name = "a"')
    assert (found.prefix, found.apps, found.access.user) == ("/deployd", (), "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("endpoints = [", "/etc/deployd/fleet.toml is not TOML: "),
        ("", "endpoints must be a list of strings"),
        ("endpoints = []", "endpoints must be a list of URLs without a path, all members of one etcd, such as"),
        ('endpoints = ["10.0.0.1:2379"]', "endpoints must be a list of URLs without a path"),
        ('endpoints = ["http://a/v3"]', "endpoints must be a list of URLs without a path"),
        ('endpoints = ["http://a", "https://b"]', "endpoints must be URLs that all begin with https, or all with http"),
        (ENDPOINTS + 'endpoint = "x"', "endpoint is unknown; allowed are endpoints, prefix, name"),
        (ENDPOINTS + 'prefix = "deployd"', "prefix must be a path of letters, digits and . _ -, such as /deployd"),
        (ENDPOINTS + 'name = "a b"', "name must be 1 to 253 letters, digits and . _ -"),
        (ENDPOINTS + "name = 1", "name must be a string"),
        (ENDPOINTS + 'apps = "shop"', "apps must be a list of strings"),
        (ENDPOINTS + 'apps = ["../shop"]', 'apps: "../shop" cannot be the name of an app'),
        (ENDPOINTS + 'archives = ["releases"]', "archives must be a list of places, each of which is an absolute path"),
        (ENDPOINTS + 'password_file = "/x"', "user must be there if password_file is"),
        (ENDPOINTS + 'user = "a"\npassword_file = "a/b"', "password_file must be an absolute path, or the name of a"),
        (ENDPOINTS + 'user = "a"\npassword_file = "/none"', "password_file: /none cannot be read: No such file"),
        (ENDPOINTS + '[tls]\nca = "/ca.pem"', "tls is for endpoints that begin with https; theirs begin with http"),
        ('endpoints = ["https://a"]\n[tls]\nkey = "/key"', "tls.cert must be there if key is"),
        (
            'endpoints = ["https://a"]\n[tls]\nca = "/none"',
            "tls.ca: the certificate or its key cannot be used: No such",
        ),
        ('endpoints = ["https://a"]\n[tls]\ncrt = "/none"', "tls.crt is unknown; allowed are ca, cert, key"),
    ],
)
def test_bad_input_gets_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        FleetSettings.parse(text, environment={})
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("/etc/deployd/fleet.toml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"does not exist; write one with the endpoints of your etcd"):
        FleetSettings.load(tmp_path / "fleet.toml")
