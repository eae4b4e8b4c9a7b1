"""WORDCOUNT: counts a file's lines, words and bytes. `zmws submit WORDCOUNT path=README.md --wait`"""

from dataclasses import dataclass
from pathlib import Path

from zmws import Fail, WorkerBase


@dataclass
class File:
    path: str


@dataclass
class Counted:
    lines: int = 0
    words: int = 0
    bytes: int = 0


class WordCount(WorkerBase):
    service_name = "WORDCOUNT"

    def validate(self, params):
        if not Path(params.path).is_file():
            raise Fail(f"there is no file '{params.path}' in {Path.cwd()}")

    def work(self, job_id, params: File):
        counted = Counted()
        with Path(params.path).open("rb") as content:
            for line in content:
                counted.lines += 1
                counted.words += len(line.split())
                counted.bytes += len(line)
        return counted


if __name__ == "__main__":
    WordCount.main()
