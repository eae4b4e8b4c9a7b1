"""PRIMES: counts the primes below a number, and goes on where it was when its worker is stopped or dies.

`zmws submit PRIMES below:=3000000 --wait`, and `zmws stop --workers && zmws start` while it runs.
"""

from math import isqrt

from zmws import WorkerBase

STEP = 10_000  # numbers between two saves


class Primes(WorkerBase):
    service_name = "PRIMES"

    def work(self, job_id, params: dict[str, int]):
        below = params.get("below", 100_000)
        found, n = self.job.saved or (0, 2)  # what an earlier attempt has counted, and how far it was
        while n < below:
            end = min(n + STEP, below)
            found += sum(map(is_prime, range(n, end)))
            n = end
            self.job.save([found, n])
            self.job.progress(n / below, f"{found} primes below {n}")
            if self.job.cancelled:
                return False
        return {"below": below, "primes": found}


def is_prime(n):
    """Whether a whole number from 2 has no other factor."""
    return all(n % factor for factor in range(2, isqrt(n) + 1))


if __name__ == "__main__":
    Primes.main()
