"""The lines that are shown of a crash: output of each language, as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.systemd.excerpt import excerpt

MOST = 10

PYTHON = """\
Traceback (most recent call last):
{frames}  File "/srv/shop/app.py", line 3, in <module>
    from shop.models import Order
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'shop.models'""".format(
    frames='  File "<frozen importlib._bootstrap>", line 1360, in _find_and_load\n    do_it()\n' * 20
)
PYTHON_LONG_MESSAGE = PYTHON.replace("No module named 'shop.models'", "(psycopg2) no route" + "\n[SQL: SELECT 1]" * 12)
GUNICORN = f"""\
[2026-11-26 02:00:01 +0000] [77] [ERROR] Exception in worker process
{PYTHON}
[2026-11-26 02:00:01 +0000] [77] [INFO] Worker exiting (pid: 77)
[2026-11-26 02:00:01 +0000] [76] [ERROR] Worker (pid:77) exited with code 3
[2026-11-26 02:00:01 +0000] [76] [ERROR] Shutting down: Master
[2026-11-26 02:00:01 +0000] [76] [ERROR] Reason: Worker failed to boot."""
RUBY = """\
/srv/shop/config.ru:4:in 'block in <main>': uninitialized constant Shop::Orders (NameError)
{frames}""".format(frames="\n".join([f"    from /usr/lib/ruby/gems/3.1.0/x.rb:{n}:in `run'" for n in range(30)]))
PUMA = """\
[4711] ! Unable to load application: LoadError: cannot load such file -- pg
bundler: failed to load command: puma (/usr/bin/puma)
{frames}""".format(
    frames="\n".join(["/usr/lib/ruby/3.1.0/x.rb:1:in `require': cannot load such file -- pg (LoadError)"])
    + "\n"
    + "\n".join(["        from /usr/lib/ruby/vendor_ruby/rack/builder.rb:116:in `eval'"] * 14)
)
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: Failed to start bean 'webServer'
{frames}
Caused by: org.hibernate.HibernateException: no dialect
{frames}
        ... 17 more
Caused by: java.net.ConnectException: Connection refused
{frames}
        ... 23 common frames omitted""".format(
    frames="\n".join([f"        at org.springframework.boot.App.run(App.java:{n})" for n in range(40)])
)
NODE = """\
node:internal/modules/cjs/loader:1080
  throw err;
  ^

Error: Cannot find module 'express'
Require stack:
- /srv/shop/server.js
{frames} {{
  code: 'MODULE_NOT_FOUND',
  requireStack: [ '/srv/shop/server.js' ]
}}

Node.js v18.19.0""".format(
    frames="\n".join(f"    at Module._load (node:internal/modules/cjs/loader:{n}:15)" for n in range(12))
)
GO = """\
panic: listen tcp 127.0.0.1:8080: bind: address already in use

goroutine 1 [running]:
{frames}
exit status 2""".format(frames="\n".join(f"main.serve{n}(0x1)\n        /srv/shop/main.go:{n} +0x1d" for n in range(12)))
PHP = """\
PHP Fatal error:  Uncaught PDOException: could not find driver in /srv/shop/db.php:12
Stack trace:
{frames}
  thrown in /srv/shop/db.php on line 12""".format(
    frames="\n".join(f"#{n} /srv/shop/vendor/x.php({n}): PDO->__construct()" for n in range(20))
)
RUST = """\
thread 'main' panicked at src/main.rs:7:39:
called `Result::unwrap()` on an `Err` value: ConnectionRefused
stack backtrace:
{frames}
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.""".format(
    frames="\n".join(f"   {n}: core::panicking::panic_fmt\n             at /rustc/9fc6b4/x.rs:14" for n in range(15))
)
DOTNET = """\
Unhandled exception. System.IO.IOException: Failed to bind to address http://127.0.0.1:8080: address already in use.
{frames}""".format(
    frames="\n".join(f"   at Microsoft.AspNetCore.Hosting.Host.Run() in /_/src/Host.cs:line {n}" for n in range(16))
)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (PYTHON, ["ModuleNotFoundError: No module named 'shop.models'"]),
        (PYTHON_LONG_MESSAGE, ["ModuleNotFoundError: (psycopg2) no route"]),
        (GUNICORN, ["ModuleNotFoundError: No module named 'shop.models'", "Worker failed to boot"]),
        (RUBY, ["uninitialized constant Shop::Orders (NameError)"]),
        (PUMA, ["cannot load such file -- pg (LoadError)"]),
        (
            JAVA,
            [
                "java.lang.IllegalStateException: Failed to start bean 'webServer'",
                "Caused by: org.hibernate.HibernateException: no dialect",
                "Caused by: java.net.ConnectException: Connection refused",
            ],
        ),
        (NODE, ["Error: Cannot find module 'express'"]),
        (GO, ["panic: listen tcp 127.0.0.1:8080: bind: address already in use"]),
        (PHP, ["Uncaught PDOException: could not find driver"]),
        (RUST, ["called `Result::unwrap()` on an `Err` value: ConnectionRefused"]),
        (DOTNET, ["System.IO.IOException: Failed to bind to address http://127.0.0.1:8080"]),
    ],
    ids=["python", "long-message", "gunicorn", "ruby", "puma", "java", "node", "go", "php", "rust", "dotnet"],
)
@pytest.mark.parametrize("before", [0, 40])
def test_the_message_is_shown(text: str, messages: list[str], before: int) -> None:
    lines = [f"INFO request {number}" for number in range(before)] + [line for line in text.split("\n") if line]
    shown = excerpt(lines, MOST)
    assert len(shown) <= MOST
    for message in messages:
        assert message in "\n".join(shown), shown


def test_plain_lines_are_the_newest() -> None:
    lines = [f"line {number}" for number in range(30)]
    assert excerpt(lines, MOST) == tuple(lines[-MOST:])
    assert excerpt(lines[:4], MOST) == tuple(lines[:4])


def test_a_shortened_stack_says_so() -> None:
    assert excerpt([line for line in RUBY.split("\n") if line], MOST) == (
        "/srv/shop/config.ru:4:in 'block in <main>': uninitialized constant Shop::Orders (NameError)",
        "    from /usr/lib/ruby/gems/3.1.0/x.rb:0:in `run'",
        "    from /usr/lib/ruby/gems/3.1.0/x.rb:1:in `run'",
        "    ... 28 more lines of the stack",
    )


@given(
    st.lists(st.sampled_from([*JAVA.split("\n"), *PYTHON.split("\n"), *GO.split("\n"), "", "x"]), max_size=60),
    st.integers(1, 12),
)
def test_any_lines(lines: list[str], most: int) -> None:
    shown = excerpt(lines, most)
    assert len(shown) == min(len(lines), most) or any("of the stack" in line for line in shown)
    assert len(shown) <= most
    assert not lines or shown
