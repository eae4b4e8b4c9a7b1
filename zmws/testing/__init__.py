"""For the tests of whoever uses zmws: a real broker on free ports, in a thread or in a process of its own,
workers in threads; a fake client without any broker, and one job alone.

    pytest_plugins = ["zmws.testing"]            in conftest.py: the fixtures of zmws/testing/fixtures.py

    def test_a_text_comes_back(zmws_client, zmws_worker):
        zmws_worker(Reverse)
        assert zmws_client.call("STR-REV", {"str": "abc"}, timeout=10) == "cba"

    def test_a_new_user_is_greeted(zmws_fake_client):     no broker, no socket: zmws/testing/fake.py
        welcome(zmws_fake_client, user)
        assert zmws_fake_client.submitted[0].service == "EMAIL"

    from zmws.testing import FakeClient, run_job          no pytest needed

    def test_what_is_asked_comes_back():
        assert FakeClient(workers=[Reverse]).call("STR-REV", {"str": "abc"}) == "cba"

    def test_a_text_is_turned_around():
        assert run_job(Reverse, {"str": "abc"}).result == "cba"

pytest itself is imported by the fixtures alone. (pytest is not to rewrite this module, which a test may
have imported before: PYTEST_DONT_REWRITE.)
"""

from zmws.testing.broker import RunningBroker, broker_in_thread
from zmws.testing.fake import AsyncFakeClient, FakeClient
from zmws.testing.in_process import Submitted
from zmws.testing.one_job import JobOutcome, run_job
from zmws.testing.processes import BrokerProcess, free_ports
from zmws.testing.worker import RunningWorker, worker_in_thread

__all__ = [
    "AsyncFakeClient",
    "BrokerProcess",
    "FakeClient",
    "JobOutcome",
    "RunningBroker",
    "RunningWorker",
    "Submitted",
    "broker_in_thread",
    "free_ports",
    "run_job",
    "worker_in_thread",
]

pytest_plugins = ["zmws.testing.fixtures"]
