"""What is tested: which packages get faults, and where their tests are."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The packages without I/O. Those that are not there are passed over.
PACKAGES = ("zmws/core", "zmws/wire", "zmws/dialog")

# Tests that are never collected. All other tests that open a socket, or start a process or a thread, are
# found when they try to (`refusing`), so that no list of files has to be kept.
EXCLUDED = (
    "system",  # real processes
    "faults",  # the tests of this tester
    "fuzz",  # they go by the clock, which is another under a tracer
    "test_mutations.py",  # it puts its own faults into the shipped code's text
)


@dataclass(frozen=True)
class Project:
    """A folder with packages and their tests."""

    root: Path = ROOT
    packages: tuple[str, ...] = PACKAGES
    tests: str = "tests"
    pytest_options: tuple[str, ...] = ()

    def sources(self, patterns: tuple[str, ...] = ()) -> list[Path]:
        """The modules that get faults; with patterns, only those whose path or name fits one."""
        found = [path for package in self.packages for path in sorted((self.root / package).rglob("*.py"))]
        if not patterns:
            return found
        return [
            path
            for path in found
            if any(fnmatch(self.name(path), one) or fnmatch(path.name, one) for one in patterns)
        ]

    def name(self, path: Path) -> str:
        """The path as it is shown: from the root, with slashes."""
        return path.relative_to(self.root).as_posix()

    def module(self, path: Path) -> str:
        """The name the module is imported by."""
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def is_excluded(self, path: Path) -> bool:
        """Whether this file or folder of tests is never collected."""
        folder = self.root / self.tests
        return path.is_relative_to(folder) and any(
            part in EXCLUDED for part in path.relative_to(folder).parts
        )

    def is_shipped(self, filename: str) -> bool:
        """Whether the file is the product's own code, in any of its packages."""
        tops = {self.root / package.partition("/")[0] for package in self.packages}
        return any(Path(filename).is_relative_to(top) for top in tops)

    def is_test(self, filename: str) -> bool:
        return Path(filename).is_relative_to(self.root / self.tests)
