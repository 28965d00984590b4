"""gunicorn and uWSGI."""

from __future__ import annotations

from dataclasses import replace

from tests.host.stage import PORT
from tests.servers import python_servers
from tests.servers.proof import merged
from tests.servers.reloads.way import CURRENT, PYTHON, TOOLS, WORKERS, Way

GUNICORN = (
    # Not -m gunicorn: at USR2 the new master would have the package's own directory on its path, with an `http` in it.
    f"/usr/bin/python3 {PYTHON}/bin/gunicorn --chdir {CURRENT} --bind 127.0.0.1:{PORT} --worker-class gthread"
    f" --workers {WORKERS} --threads 4 --keep-alive 0 --graceful-timeout 30"
)
# A worker of 27.0.1 waits up to 2 s in its main loop for a client that reads slowly (close_graceful), and meanwhile
# kept connections time out with requests that it has not read: 24 of 787 were reset without any release.
NO_KEEPALIVE = {"GUNICORN_CMD_ARGS": "--keep-alive 0"}
GTHREAD = replace(
    python_servers.GTHREAD, settings=merged(python_servers.GTHREAD.settings, {"environment": NO_KEEPALIVE})
)
HUP = Way(
    "gunicorn-hup",
    "gunicorn HUP",
    GTHREAD,
    f"""\
Type=notify
NotifyAccess=main
KillMode=mixed
ExecStart={GUNICORN} app:app
ExecReload=/bin/kill -s HUP $MAINPID
""",
    "the unit of its manual; gthread, graceful_timeout 30 s, chdir to the moved symlink. keepalive 0 in both rows: a"
    " worker of 27.0.1 waits up to 2 s for a client that reads slowly, also without a release, and kept connections"
    " time out unread meanwhile",
)
UPGRADE = """\
#!/bin/sh
# With preload_app, the pid file of the new master shows that it has loaded the application.
pid=/run/web/gunicorn.pid
old=$(cat $pid)
kill -USR2 "$old"
for _ in $(seq 100); do
    [ -s $pid.2 ] && break
    sleep 0.1
done
new=$(cat $pid.2) || exit 1
while [ "$(pgrep -c -P "$new")" -lt 4 ]; do sleep 0.1; done
systemd-notify "MAINPID=$new"
kill -TERM "$old"
while [ "$(cat $pid)" != "$new" ]; do sleep 0.1; done
"""
USR2 = Way(
    "gunicorn-usr2",
    "gunicorn USR2",
    GTHREAD,
    f"""\
Type=notify
NotifyAccess=all
KillMode=mixed
RuntimeDirectory=web
ExecStart={GUNICORN} --preload --pid /run/web/gunicorn.pid app:app
ExecReload={TOOLS}/upgrade
""",
    "as HUP, with preload_app; a script sends USR2, waits up to 10 s for the pid file and the workers of the new"
    " master, and sends TERM to the old one",
    tools={"upgrade": UPGRADE},
)
UWSGI = Way(
    "uwsgi-chain",
    "uWSGI chain reload",
    python_servers.UWSGI,
    f"""\
Type=notify
NotifyAccess=all
KillSignal=SIGQUIT
Restart=always
RuntimeDirectory=web
ExecStart=/usr/bin/uwsgi --plugin python3 --http-socket 127.0.0.1:{PORT} --master --lazy-apps --need-app \\
    --processes {WORKERS} --threads 4 --listen 1024 --worker-reload-mercy 30 --disable-logging \\
    --master-fifo /run/web/fifo --chdir {CURRENT} --pythonpath {CURRENT} --module app:app
ExecReload=/bin/sh -c 'echo c > /run/web/fifo'
""",
    "master FIFO `c`, lazy-apps, need-app, listen 1024, worker-reload-mercy 30 s",
)
WAYS = (HUP, USR2, UWSGI)
