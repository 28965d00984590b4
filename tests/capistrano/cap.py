"""The Capistrano of Debian on this machine, with the plugin of this checkout, for a project of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.host.root import CHECKOUT
from tests.ssh.client import SSH, Client

PLUGIN = CHECKOUT / "packaging/capistrano"
PACKAGES = ("capistrano", SSH)
MINUTES = 2
INSTALLED_GEMS = "/usr/share/rubygems-integration/all"
SETTINGS = """
set :application, ENV.fetch("APP")
set :deploy_to, "/srv/demo"
set :scm, nil
set :deployd_roles, ENV.fetch("ROLES", "app")
set :deployd_init_options, %w[--preset generic-notify --listen 127.0.0.1:8090 --instances 1]
set :ssh_options, { keys: [ENV.fetch("KEY")], config: false, verify_host_key: :never, timeout: 60 }

after "deploy:new_release_path", :copy do
  on(release_roles(:all)) { execute :cp, "-r", "/srv/src/#{ENV.fetch("VERSION")}", release_path }
end
"""
SERVER = """
require "net/ssh/proxy/command"
server %s, user: ENV.fetch("LOGIN"), roles: %%w[app], ssh_options: { proxy: Net::SSH::Proxy::Command.new(%s) }
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of cap has printed, with standard error."""

    status: int
    out: str


class Cap:
    """Capistrano below `directory`, with the app `app` on servers, each reached by a command (in their order)."""

    def __init__(self, directory: Path, app: str, user: str, servers: Mapping[str, str]) -> None:
        self.client = Client(directory, PACKAGES)
        self._directory = directory
        self._app = app
        self._user = user
        stages = directory / "config/deploy"
        stages.mkdir(parents=True)
        (directory / "Capfile").write_text(capfile())
        (directory / "config/deploy.rb").write_text(SETTINGS)
        lines = [SERVER % (json.dumps(name), json.dumps(command)) for name, command in servers.items()]
        (stages / "production.rb").write_text("".join(lines))

    def run(self, *arguments: str, **environment: str) -> Ran:
        """Run cap for the stage production. By default for the app and the user of this Cap."""
        root = self.client.root
        gems = [root / "usr/share/rubygems-integration/all", *root.glob("usr/lib/*/rubygems-integration/*")]
        library = [PLUGIN / "lib", root / "usr/lib/ruby/vendor_ruby"]
        done = subprocess.run(
            ["ruby", str(root / "usr/bin/cap"), "production", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._directory),
                "LANG": "C.UTF-8",
                "RUBYLIB": ":".join(map(str, library)),
                "GEM_PATH": ":".join([*map(str, gems), INSTALLED_GEMS]),
                "KEY": str(self.client.key),
                "APP": self._app,
                "LOGIN": self._user,
                "VERSION": "none",
                **environment,
            },
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MINUTES * 60,
            check=False,
        )
        return Ran(done.returncode, done.stdout)


def capfile() -> str:
    """Return the Capfile that the README shows."""
    blocks: list[str] = re.findall(
        r"^```ruby\n(.*?)^```$", (PLUGIN / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return blocks[0]
