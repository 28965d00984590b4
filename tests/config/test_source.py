"""The lines of keys in the text of an app file."""

from __future__ import annotations

from deployd.config.source import Source


def test_lines_of_keys() -> None:
    text = '''\
a = """
b = 1
[c]
"""
"b" = 2 # [d]
[c] # table
"d e".f = { g = 1 }
h = [
  1,
]
'''
    source = Source("x", text)
    lines = {("a",): 1, ("b",): 5, ("c",): 6, ("c", "d e", "f"): 7, ("c", "d e", "f", "g"): 7, ("c", "h"): 8}
    assert {path: source.line(path) for path in lines} == lines
    assert source.line(("c", "unknown")) == 6
    assert source.line(("unknown",)) is None
