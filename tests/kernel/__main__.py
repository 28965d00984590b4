"""Runs the tests of reuseport on a kernel of Debian: `python -m tests.kernel 6.1 [ARGUMENTS OF PYTEST]`.

`--fetch` only downloads the kernel.
"""

from __future__ import annotations

import sys

from tests.kernel import guest
from tests.kernel.package import KernelError, fetch

PURE = "tests/reuseport/test_table.py"
"""Says nothing about a kernel."""
DEADLINE = 3600.0


def main(arguments: list[str]) -> int:
    only_fetch = arguments[:1] == ["--fetch"]
    version, *options = arguments[only_fetch:] or ["6.1"]
    try:
        kernel = fetch(version)
        if only_fetch:
            return 0
        tests = options or ["-v", "-m", "not privileged", f"--ignore={PURE}", "tests/reuseport"]
        return guest.run(kernel, [*guest.PYTEST, *tests], DEADLINE, echo=True).status
    except KernelError as error:
        print(f"kernel: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
