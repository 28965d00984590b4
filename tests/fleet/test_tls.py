"""TLS with a real etcd that asks clients for a certificate, by settings as users write them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployd.errors import InvalidFile
from deployd_cli.fleet.etcd import Etcd, Item, Put, Range
from deployd_cli.fleet.gateway import EtcdUnavailable
from deployd_cli.fleet.settings import FleetSettings
from tests.fleet.cluster import DEADLINE, LOOPBACK, Cluster


def openssl(directory: Path, *argv: str) -> None:
    subprocess.run(["openssl", *argv], cwd=directory, check=True, capture_output=True, timeout=DEADLINE)


def certificate(directory: Path, name: str, *extensions: str) -> None:
    """Write NAME.pem and NAME.key, signed by ca.pem; ca itself if it has that name."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    signed = [] if name == "ca" else ["-CA", "ca.pem", "-CAkey", "ca.key"]
    added = [word for item in extensions for word in ("-addext", item)]
    openssl(directory, "req", "-x509", *key, "-subj", f"/CN={name}", "-out", f"{name}.pem", *signed, *added)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    certificate(directory, "ca")
    certificate(directory, "web1", "extendedKeyUsage=clientAuth", "basicConstraints=critical,CA:FALSE")
    usage = "extendedKeyUsage=serverAuth,clientAuth"  # the gateway of a member is a client of that member
    certificate(directory, "etcd", f"subjectAltName=IP:{LOOPBACK}", usage, "basicConstraints=critical,CA:FALSE")
    return directory


@pytest.fixture(scope="module")
def cluster(directory: Path) -> Iterator[Cluster]:
    files = (f"--cert-file={directory}/etcd.pem", f"--key-file={directory}/etcd.key")
    with Cluster(tls=(*files, f"--trusted-ca-file={directory}/ca.pem", "--client-cert-auth")) as found:
        yield found


def settings(cluster: Cluster, tls: str, credentials: Path | None = None) -> FleetSettings:
    text = f'endpoints = {json.dumps(cluster.endpoints)}\nname = "web1"\n[tls]\n{tls}'
    return FleetSettings.parse(text, environment={"CREDENTIALS_DIRECTORY": str(credentials)} if credentials else {})


def test_a_certificate_of_the_right_authority_lets_in(cluster: Cluster, directory: Path) -> None:
    async def work(known: FleetSettings) -> None:
        async with asyncio.timeout(DEADLINE), Etcd(known.access) as etcd:
            first = await etcd.write([], [Put("/t/a", "1")])
            assert (await etcd.read(Range("/t/a"))).items == {"/t/a": Item("1", first)}

    tls = f'ca = "{directory}/ca.pem"\ncert = "{directory}/web1.pem"\nkey = "web1.key"'
    asyncio.run(work(settings(cluster, tls, directory)))


def test_others_are_kept_out(cluster: Cluster, directory: Path) -> None:
    async def work(known: FleetSettings) -> None:
        async with asyncio.timeout(DEADLINE), Etcd(known.access) as etcd:
            await etcd.read(Range("/t/a"))

    for tls in (f'ca = "{directory}/ca.pem"', f'cert = "{directory}/web1.pem"\nkey = "{directory}/web1.key"'):
        with pytest.raises(EtcdUnavailable, match=r"etcd at https://.* does not answer: "):
            asyncio.run(work(settings(cluster, tls)))


def test_a_key_of_another_certificate_is_named(cluster: Cluster, directory: Path) -> None:
    tls = f'ca = "{directory}/ca.pem"\ncert = "{directory}/web1.pem"\nkey = "{directory}/etcd.key"'
    with pytest.raises(InvalidFile, match=r"tls\.cert: the certificate or its key cannot be used: KEY_VALUES_MISMATCH"):
        settings(cluster, tls)
