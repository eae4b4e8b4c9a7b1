"""Where each table and key of a TOML text stands."""

from __future__ import annotations

import tomllib

from zmws.settings.toml_lines import line_numbers


def test_the_line_of_each_key_is_found_however_it_is_written() -> None:
    text = '''\
# [broker] in a comment
top = 1
[ broker ]   # comment with [[workers]]
client = "# no comment"  # one
"wor\\u006ber" = 'a [table]'
text = """
[store]
url = 1 \\""" still
"""
raw = \'\'\'
[gateway]\'\'\'\'
array = [
  "[services.X]",  # ]
  { inner = 1 },
]
after = 2
[services]
EMAIL.retries = 5
[services.'a.b']
x = { y = [1] }
[[workers]]
name = "a"
[workers.flags]
f = 1

[[ workers ]]
name = "b"
flags.g = 1
'''
    tomllib.loads(text)
    lines = line_numbers(text)
    for where, line in {
        ("top",): 2,
        ("broker",): 3,
        ("broker", "client"): 4,
        ("broker", "worker"): 5,
        ("broker", "text"): 6,
        ("broker", "raw"): 10,
        ("broker", "array"): 12,
        ("broker", "after"): 16,
        ("services",): 17,
        ("services", "EMAIL"): 18,
        ("services", "EMAIL", "retries"): 18,
        ("services", "a.b"): 19,
        ("services", "a.b", "x"): 20,
        ("workers",): 21,
        ("workers", 0): 21,
        ("workers", 0, "name"): 22,
        ("workers", 0, "flags"): 23,
        ("workers", 0, "flags", "f"): 24,
        ("workers", 1): 26,
        ("workers", 1, "name"): 27,
        ("workers", 1, "flags", "g"): 28,
    }.items():
        assert lines.pop(where) == line, where
    assert lines == {("workers", 1, "flags"): 28}


def test_lines_end_with_the_text_wherever_it_ends() -> None:
    assert line_numbers("") == line_numbers("\n\n# x") == {}
    assert line_numbers("[a]") == {("a",): 1}
    assert line_numbers("\n\na = 1") == line_numbers("\r\n\r\na = 1\r\n") == {("a",): 3}
