"""`python3 -m tests.load`: generates load until SIGTERM, SIGINT, `stop` or --duration, then prints a summary.

Reads lines from stdin: `mark NAME` (reply `mark NAME TIME`), `progress` (reply `progress {JSON}`), `stop`. Prints
`ready` once warmed up, the replies, then the summary as one JSON object, followed by the record with `--record -`.
"""

import argparse
import json
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.load.generator import Generator
from tests.load.plan import Plan


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python3 -m tests.load")
    arguments.add_argument("--url", help="http://HOST:PORT/PATH, instead of the next four")
    arguments.add_argument("--host", default="127.0.0.1", help="an address, not a name")
    arguments.add_argument("--port", type=int)
    arguments.add_argument("--unix", help="path of a UNIX socket")
    arguments.add_argument("--path", default="/")
    arguments.add_argument("--rate", type=float, default=300, help="new connections per second; 0 for none")
    arguments.add_argument("--duration", type=float, help="seconds; without it, until stopped")
    arguments.add_argument("--keepalive", type=int, default=0, help="number of clients with persistent connections")
    arguments.add_argument("--think", type=float, default=0.05, help="their pause after each response in seconds")
    arguments.add_argument("--close", action="store_true", help="these clients, too, connect for each request")
    arguments.add_argument("--timeout", type=float, default=10, help="seconds")
    arguments.add_argument("--record", help="file for the record; - for stdout")
    arguments.add_argument("--stop-on-eof", action="store_true", help="stop when stdin ends")
    return arguments


def plan_of(arguments: argparse.Namespace) -> Plan:
    host, port, path = arguments.host, arguments.port, arguments.path
    if arguments.url:
        parts = urlsplit(arguments.url)
        host, port, path = parts.hostname or "", parts.port or 80, parts.path or "/"
        path += f"?{parts.query}" if parts.query else ""
    address: tuple[str, int] | str
    if arguments.unix:
        family, address, name = socket.AF_UNIX, arguments.unix, "localhost"
    elif port:
        family, address = socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    else:
        raise SystemExit("one of --url, --port and --unix is needed")
    return Plan(
        family=family,
        address=address,
        host=name,
        rate=arguments.rate,
        keepalive=arguments.keepalive,
        think=arguments.think,
        close=arguments.close,
        path=path,
        timeout=arguments.timeout,
        duration=arguments.duration,
    )


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    arguments = parser().parse_args()

    def execute(line: str) -> None:
        command, _, rest = line.strip().partition(" ")
        if command == "mark" and rest:
            say(f"mark {rest} {generator.mark(rest).at}")
        elif command == "progress":
            say("progress " + json.dumps({"requests": len(generator.done), "failed": generator.failed}))
        elif command == "stop":
            generator.stop()
        elif command:
            print(f"no such command: {line!r}, ignoring", file=sys.stderr)

    generator = Generator(
        plan_of(arguments), lambda: say("ready"), execute, sys.stdin.fileno(), stop_on_eof=arguments.stop_on_eof
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: generator.stop())
    record = generator.run()
    say(json.dumps(record.summary()))
    if arguments.record == "-":
        record.dump(sys.stdout)
    elif arguments.record:
        target = Path(arguments.record)
        unfinished = target.with_name(target.name + ".new")
        with unfinished.open("w") as file:
            record.dump(file)
        os.replace(unfinished, target)  # noqa: PTH105


if __name__ == "__main__":
    main()
