"""LOG: appends a line to a file, which it keeps open while there is work and closes when idle.

`zmws submit LOG line='something happened'` writes to logs/messages.log of the current folder.
"""

from pathlib import Path

from zmws import WorkerBase


class Logger(WorkerBase):
    service_name = "LOG"
    path = Path("logs/messages.log")
    file = None

    def work(self, job_id, params):
        line = params.get("line") if isinstance(params, dict) else None
        if not isinstance(line, str):
            raise ValueError(f"LOG needs 'line', a text; it was given {params!r:.200}")
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("a", encoding="utf-8")
        self.file.write(line.replace("\n", " ") + "\n")
        self.file.flush()

    def idle(self):
        if self.file is not None:
            self.file.close()
            self.file = None


if __name__ == "__main__":
    Logger.main()
