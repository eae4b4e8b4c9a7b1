"""For the tests of whoever uses zmws: a real broker on free ports, in a thread or in a process of its own,
workers in threads, one job alone.

    pytest_plugins = ["zmws.testing"]            in conftest.py: the fixtures of zmws/testing/fixtures.py

    def test_a_text_comes_back(zmws_client, zmws_worker):
        zmws_worker(Reverse)
        assert zmws_client.call("STR-REV", {"str": "abc"}, timeout=10) == "cba"

    from zmws.testing import run_job             no broker, no socket, no pytest needed

    def test_a_text_is_turned_around():
        assert run_job(Reverse, {"str": "abc"}).result == "cba"

pytest itself is imported by the fixtures alone. (pytest is not to rewrite this module, which a test may
have imported before: PYTEST_DONT_REWRITE.)
"""

from zmws.testing.broker import RunningBroker, broker_in_thread
from zmws.testing.one_job import JobOutcome, run_job
from zmws.testing.processes import BrokerProcess, free_ports
from zmws.testing.worker import RunningWorker, worker_in_thread

__all__ = [
    "BrokerProcess",
    "JobOutcome",
    "RunningBroker",
    "RunningWorker",
    "broker_in_thread",
    "free_ports",
    "run_job",
    "worker_in_thread",
]

pytest_plugins = ["zmws.testing.fixtures"]
