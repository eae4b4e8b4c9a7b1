"""WORDCOUNT: counts a file's lines, words and bytes. `zmws submit WORDCOUNT path=README.md --wait`"""

from pathlib import Path

from zmws import WorkerBase


class WordCount(WorkerBase):
    service_name = "WORDCOUNT"

    def work(self, job_id, params):
        path = params.get("path") if isinstance(params, dict) else None
        if not isinstance(path, str):
            raise ValueError(f"WORDCOUNT needs 'path', the path of a file; it was given {params!r:.200}")
        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"there is no file '{path}' in {Path.cwd()}")
        lines = words = size = 0
        with file.open("rb") as content:
            for line in content:
                lines += 1
                words += len(line.split())
                size += len(line)
        return {"lines": lines, "words": words, "bytes": size}


if __name__ == "__main__":
    WordCount.main()
