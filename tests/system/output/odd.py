"""A worker that does odd things."""

from __future__ import annotations

ODD = """
from zmws import WorkerBase

class Odd(WorkerBase):
    service_name = "ODD"

    def work(self, job_id, params):
        how = params.get("how", "")
        if how == "half":
            self.job.log("half \\ud83d")
            self.job.partial("part \\ud83d")
            return "half \\ud83d"
        if how == "words":
            return "\\u00e4 \\u20ac \\U0001f600"
        if how == "dict":
            return {"\\u00e4": "\\u20ac \\U0001f600"}
        if how == "red":
            return "\\x1b[31mred\\x1b[0m"
        if how == "lines":
            self.job.log("first\\nsecond\\x1b[2J")
        if how == "raise":
            raise RuntimeError("it broke: \\u20ac \\ud83d " + "x" * 300)
        return params
"""
