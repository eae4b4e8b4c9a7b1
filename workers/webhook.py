"""WEBHOOK: posts JSON to a URL; as `on_complete` or `on_failed` of a job, the record of that job.

`zmws submit WEBHOOK body:='{"text": "hello"}' --wait`. Its environment (`env` of [[workers]]) tells it:

    ZMWS_WEBHOOK_URL     where to
    ZMWS_WEBHOOK_ALLOW   servers of which a job may name a URL: https://HOST[:PORT], a space between two
    ZMWS_WEBHOOK_SECRET  signs each post, as standardwebhooks.com has it: whsec_ and random bytes in base64

A job names one with `url` beside `body`, or with `meta: {"webhook": URL}` of the job that ends. It may not
unless you list the server: else whoever submits jobs could have this machine ask others that only it can
reach. A signature says that a post comes from here; its content is the submitter's.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from zmws import Fail, Retry, WorkerBase

TIMEOUT_S = 10.0  # for the connection, and for each part of an answer
PORTS = {"http": 80, "https": 443}
LATER = (408, 425, 429)  # and all from 500: another time it may go well


class Webhook(WorkerBase):
    service_name = "WEBHOOK"
    concurrency = 8  # so that a slow server holds up no other
    retries, backoff = 12, 5.0  # tries for three and a half hours; the last pauses are an hour each
    ttr = 60.0

    def setup(self):
        self.url = os.environ.get("ZMWS_WEBHOOK_URL", "")
        self.allowed = [origin(url) for url in os.environ.get("ZMWS_WEBHOOK_ALLOW", "").split()]
        secret = os.environ.get("ZMWS_WEBHOOK_SECRET", "").removeprefix("whsec_")
        self.secret = base64.b64decode(secret, validate=True)
        if self.url:
            origin(self.url)  # what is wrong with it is better told now than by each job

    def work(self, job_id, params: dict[str, Any]):
        if "service" in params and "state" in params:  # the record of a job that has ended
            meta = params.get("meta")
            body, named = params, meta.get("webhook") if self.allowed and isinstance(meta, dict) else None
        elif "body" in params:
            body, named = params["body"], params.get("url")
        else:
            raise Fail("WEBHOOK needs 'body', which is posted as JSON, or the record of a job")
        if not (named or self.url):
            raise Fail("no URL is configured: set ZMWS_WEBHOOK_URL (env of [[workers]] in etc/zmws.toml)")
        try:
            if named and origin(named) not in self.allowed:
                raise Fail("the job names a URL whose server is not in ZMWS_WEBHOOK_ALLOW")
        except ValueError as wrong:
            raise Fail(str(wrong)) from None
        return self.post(named or self.url, json.dumps(body).encode())

    def post(self, url, body):
        """What the job returns. Raises Retry and Fail, which name the server only: a path may be a secret."""
        scheme, host, port = origin(url)
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # Neither follows a redirect, which could lead anywhere, nor asks the environment for a proxy.
        connection = (HTTPSConnection if scheme == "https" else HTTPConnection)(host, port, timeout=TIMEOUT_S)
        try:
            with contextlib.closing(connection):
                connection.request("POST", path, body, self.headers(body))
                answer = connection.getresponse()
                if 200 <= answer.status < 300:
                    return {"status": answer.status}
                said = answer.read(200).decode("utf-8", "replace")
        except (OSError, HTTPException) as wrong:
            raise Retry(f"{host}:{port} cannot be asked: {type(wrong).__name__}: {wrong}") from None
        said = f"{host}:{port} answered {answer.status} {answer.reason}: {said}"
        if answer.status in LATER or answer.status >= 500:
            raise Retry(said, delay=pause(answer.getheader("Retry-After")))
        raise Fail(said)

    def headers(self, body):
        # The same in each attempt, so that a receiver can pass over what it has had already. No dot may be
        # in it: in what is signed a dot ends it.
        message, now = self.job.id.replace(".", "%2E"), str(int(time.time()))
        headers = {"Content-Type": "application/json", "Idempotency-Key": message, "User-Agent": "zmws"}
        headers |= {"webhook-id": message, "webhook-timestamp": now}
        if self.secret:
            signed = hmac.digest(self.secret, f"{message}.{now}.".encode() + body, hashlib.sha256)
            headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
        return headers


def origin(url):
    """Scheme, host and port of a URL. Raises ValueError for what is none, or could be read in two ways."""
    is_plain = isinstance(url, str) and re.fullmatch(r"https?://[!-~]+", url) and "\\" not in url
    parts = urlsplit(url) if is_plain else None
    if parts is None or not parts.hostname or "@" in parts.netloc:
        raise ValueError("a webhook needs a URL: https://HOST/..., or http://, without a login and spaces")
    return parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]


def pause(text):
    """Seconds that a server's Retry-After asks for, at most a day; None: the job's backoff holds."""
    with contextlib.suppress(ValueError, OverflowError):  # what cannot be read asks for nothing
        if text is not None:
            wait = int(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
            return min(max(1.0, wait), 86_400.0)
    return None


if __name__ == "__main__":
    Webhook.main()
