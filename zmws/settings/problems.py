"""What is wrong with the settings: gathered, so that all of it is told in one go.

Rule: a problem of the file is told with its line, `FILE:LINE: what is wrong`, in the order of the file; after
those come the problems of other sources, each with its source.
"""

from __future__ import annotations

from zmws.errors import SettingsError
from zmws.settings.toml_lines import line_numbers

Where = tuple[str | int, ...]  # the way to a key: names, and the indexes of tables in arrays


class Problems:
    """All that was found so far."""

    def __init__(self, shown: str, text: str) -> None:
        """`shown`: the file's name, for people; `text`: what is in it."""
        self.shown = shown
        self._text = text
        self._lines: dict[Where, int] | None = None  # found when a problem needs one
        self._in_file: list[tuple[int, str]] = []
        self._elsewhere: list[str] = []

    def __len__(self) -> int:
        return len(self._in_file) + len(self._elsewhere)

    def in_file(self, where: Where, message: str) -> None:
        """Something is wrong with this key of the file."""
        line = self._line(where)
        self._in_file.append((line, f"{self.shown}:{line}: {message}"))

    def elsewhere(self, source: str, message: str) -> None:
        """Something is wrong with a flag, a variable or a file of a worker."""
        self._elsewhere.append(f"{source}: {message}")

    def raise_if_any(self) -> None:
        """Raises SettingsError, with a line for each problem."""
        if len(self):
            in_file = [text for _, text in sorted(self._in_file, key=lambda one: one[0])]
            raise SettingsError("\n".join(in_file + self._elsewhere))

    def _line(self, where: Where) -> int:
        """Of the key, else of the nearest table around it."""
        if self._lines is None:
            self._lines = line_numbers(self._text)
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where, 1)
