"""RANDSTREAM: a hundred random texts as partial results, then done. `zmws call RANDSTREAM`"""

import random
import string

from zmws import WorkerBase


class RandomStream(WorkerBase):
    service_name = "RANDSTREAM"

    def work(self, job_id, params):
        for _ in range(100):
            self.job.partial("".join(random.choices(string.ascii_letters, k=16)))


if __name__ == "__main__":
    RandomStream.main()
