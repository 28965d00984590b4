"""Archives of releases: which are allowed, and what is said of those that cannot be read. The server is a real one."""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployd.errors import Busy, DeploydError, Refused, Unreachable
from deployd_cli.fleet.archive import Archive
from deployd_cli.fleet.delivery import fetch, problem_of

CONTENTS = b"release" * 500_000
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
PLACES = ("https://example.org/shop/", "/mnt/releases/")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Compresses what it sends to clients that understand that, as servers may."""

    def do_GET(self) -> None:
        if "gzip" in self.headers["Accept-Encoding"]:
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(CONTENTS))
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/v2.tar")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "v2.tar").write_bytes(CONTENTS)
    return tmp_path


@pytest.fixture
def url(directory: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=directory)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetched(source: str, sha256: str = SHA256) -> bytes:
    file = io.BytesIO()
    asyncio.run(fetch(Archive(source, sha256), file))
    return file.getvalue()


def test_an_archive_is_copied_from_a_server_and_from_a_file(directory: Path, url: str) -> None:
    assert fetched(f"{url}/v2.tar") == CONTENTS
    assert fetched(f"{directory}/v2.tar") == CONTENTS


@pytest.mark.parametrize("sha256", ["0" * 64, hashlib.sha256(CONTENTS[:-1]).hexdigest()])
def test_another_archive_is_refused(url: str, sha256: str) -> None:
    with pytest.raises(Refused, match=f"v2.tar is another archive: its SHA-256 is {SHA256}, not {sha256}$"):
        fetched(f"{url}/v2.tar", sha256)


@pytest.mark.parametrize(
    ("path", "reason"), [("/v3.tar", "the server answers HTTP 404"), ("/moved", "the server answers HTTP 302")]
)
def test_an_answer_without_the_archive_is_refused(url: str, path: str, reason: str) -> None:
    with pytest.raises(Refused, match=f"{path} cannot be read: {reason}$"):
        fetched(url + path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for source in (str(tmp_path), f"{tmp_path}/none", "http://127.0.0.1:1/none"):
        with pytest.raises(Refused, match=f"^{source} cannot be read: .+"):
            fetched(source)


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("https://example.org/shop/v2.tar.gz", True),
        ("/mnt/releases/shop/v2.tar", True),
        ("https://example.org/shops/v2.tar.gz", False),
        ("http://example.org/shop/v2.tar.gz", False),
        ("https://example.org.evil/shop/v2.tar.gz", False),
        ("/mnt/releases/../../etc/shadow", False),
        ("https://example.org/shop/%2e%2E/other/v2.tar", False),
        ("https://example.org/shop/.%2e%2fother/v2.tar", False),
    ],
)
def test_archives_are_below_the_places_of_fleet_toml(source: str, allowed: bool) -> None:
    archive = Archive(source, SHA256)
    assert archive.problem() == ""
    assert archive.is_below(PLACES) is allowed
    assert not archive.is_below(())


@pytest.mark.parametrize(
    ("source", "sha256", "problem"),
    [
        ("v2.tar", SHA256, "the archive must be an absolute path, or a URL"),
        ("file:///v2.tar", SHA256, "the archive must be an absolute path, or a URL"),
        ("https://example.org/a b", SHA256, "the archive must be an absolute path, or a URL"),
        ("/v2.tar", SHA256.upper(), "the SHA-256 of an archive must be 64 digits and letters from a to f"),
        ("/v2.tar", "", "the SHA-256 of an archive must be 64 digits and letters from a to f"),
    ],
)
def test_a_bad_archive_is_explained(source: str, sha256: str, problem: str) -> None:
    assert Archive(source, sha256).problem().startswith(problem)


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        ('{"event":"error","error":"Busy","message":"a rollout is in progress"}\n', Busy, "a rollout is in progress"),
        ('{"app":"shop"}\n{"event":"error","error":"Unreachable","message":"no daemon"}\n', Unreachable, "no daemon"),
        ('{"event":"error","error":"New","message":"what is new"}\n', DeploydError, "what is new"),
        ("", DeploydError, "deployd deploy was ended before it said"),
        ("[1]", DeploydError, "deployd deploy was ended before it said"),
        ('{"app":"shop","result":', DeploydError, "deployd deploy was ended before it said"),
    ],
)
def test_an_error_of_the_command_is_raised_again(output: str, kind: type[DeploydError], message: str) -> None:
    problem = problem_of(output)
    assert type(problem) is kind
    assert str(problem).startswith(message)


def test_the_end_of_a_rollout_is_no_error_of_the_command() -> None:
    assert problem_of('{"app": "shop", "result": "rolled-back", "generation": 4}\n') is None
