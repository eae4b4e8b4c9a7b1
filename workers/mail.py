"""MAIL: sends an e-mail by SMTP; as `on_complete` or `on_failed` of a job, one that tells how it has ended.

`zmws submit MAIL to=me@example.com subject=Hello text='How are you?'`. Its environment (`env` of [[workers]])
tells it:

    ZMWS_SMTP_URL    smtp://[USER:PASSWORD@]HOST[:PORT], by STARTTLS; smtps:// has TLS from the start, and
                     smtp+plain:// none. In a password %40 is an @
    ZMWS_MAIL_FROM   the sender's address
    ZMWS_MAIL_TO     who is written to where a job names nobody; commas between addresses
    ZMWS_MAIL_ALLOW  who else may be named by a job: addresses and domains (example.com), or * for all

A job names them with `to`, or with `meta: {"mail": ADDRESS}` of the job that ends. It may not unless you
list them: else whoever submits jobs could write anything to anybody in your name.
`attachments` is a list of {"name": "a.png", "base64": "..."}.
"""

import base64
import contextlib
import hashlib
import json
import mimetypes
import os
import re
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

from zmws import Fail, Retry, WorkerBase

PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
TIMEOUT_S = 30.0  # for the connection, and for each answer
TEXT_MAX = 100_000  # characters of a record that are mailed


class Mail(WorkerBase):
    service_name = "MAIL"
    retries, backoff = 10, 30.0  # tries for four hours: a mail server may be away
    ttr = 300.0

    def setup(self):
        self.server = urlsplit(os.environ.get("ZMWS_SMTP_URL", ""))
        self.sender = os.environ.get("ZMWS_MAIL_FROM", "")
        self.receivers = addresses(os.environ.get("ZMWS_MAIL_TO", ""))
        self.allowed = {*os.environ.get("ZMWS_MAIL_ALLOW", "").lower().replace(",", " ").split()}
        if self.server.geturl() and self.server.scheme not in PORTS:
            raise ValueError(f"ZMWS_SMTP_URL begins with none of {', '.join(PORTS)}")

    def work(self, job_id, params: dict[str, Any]):
        if not self.server.hostname or not self.sender:
            raise Fail(
                "no mail server is configured: set ZMWS_SMTP_URL and ZMWS_MAIL_FROM (env of [[workers]])"
            )
        try:
            message, to = self.message(params)
        except (TypeError, ValueError, KeyError, AttributeError) as wrong:  # such as a line break in a name
            raise Fail(f"this is no mail: {type(wrong).__name__}: {wrong}") from None
        reached = self.job.saved or []  # by an earlier attempt
        try:
            refused = self.send(message, [one for one in to if one not in reached])
        except smtplib.SMTPResponseException as wrong:
            said = f"the mail server says {wrong.smtp_code} {wrong.smtp_error!r:.500}"
            raise (Fail if wrong.smtp_code >= 500 else Retry)(said) from None
        except OSError as wrong:  # the others of smtplib are OSErrors, too
            raise Retry(f"the mail server cannot be asked: {type(wrong).__name__}: {wrong}") from None
        self.job.save([one for one in to if one not in refused])  # who has it gets it no second time
        if refused:
            is_final = all(code >= 500 for code, _ in refused.values())
            raise (Fail if is_final else Retry)(f"not taken: {refused}")
        return {"to": to, "message_id": message["Message-ID"]}

    def message(self, params):
        """An e-mail, and whom it goes to. Raises Fail where they may not be written to."""
        if "service" in params and "state" in params:  # the record of a job that has ended
            meta, error = params.get("meta"), params.get("error") or {}
            named = meta.get("mail") if self.allowed and isinstance(meta, dict) else None
            subject = f"{params['service']} {params['state']}: {params['id']}"
            record = json.dumps(params, indent=2, ensure_ascii=False)
            text = f"{error.get('error', '')}\n{error.get('traceback', '')}\n{record}"[:TEXT_MAX]
        else:
            named, subject, text = params.get("to"), params["subject"], params["text"]
        to = addresses(named) if named else self.receivers
        for one in to:
            names = {"*", one.lower(), one.lower().partition("@")[2]}
            if one not in self.receivers and not names & self.allowed:
                raise Fail(f"{one} is not in ZMWS_MAIL_ALLOW")
        if not to:
            raise Fail("there is nobody to write to: set ZMWS_MAIL_TO")
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = self.sender, ", ".join(to), subject
        message["Date"], message["Auto-Submitted"] = formatdate(), "auto-generated"  # no holiday notes
        # The same in each attempt: mail programs show a mail once that has come twice.
        unique = hashlib.sha256(self.job.id.encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{unique}@{self.sender.partition('@')[2]}>"
        message.set_content(text)
        for one in params.get("attachments") or []:
            content = base64.b64decode(one["base64"], validate=True)
            kind = mimetypes.guess_type(one["name"])[0] or "application/octet-stream"
            message.add_attachment(content, *kind.split("/"), filename=one["name"])
        return message, to

    def send(self, message, to):
        """Addresses that were refused, each with the answer. Raises OSError."""
        place = (self.server.hostname, self.server.port or PORTS[self.server.scheme])
        secure = ssl.create_default_context()
        if self.server.scheme == "smtps":
            server = smtplib.SMTP_SSL(*place, timeout=TIMEOUT_S, context=secure)
        else:
            server = smtplib.SMTP(*place, timeout=TIMEOUT_S)
        try:
            if self.server.scheme == "smtp":
                server.starttls(context=secure)
            if self.server.username:
                server.login(unquote(self.server.username), unquote(self.server.password or ""))
            return server.send_message(message, self.sender, to) if to else {}
        except smtplib.SMTPRecipientsRefused as wrong:  # all of them
            return wrong.recipients
        finally:
            # The mail is sent by now: a connection that breaks here must not have it sent once more.
            with contextlib.suppress(OSError):
                server.quit()


def addresses(given):
    """Of a text with commas, or a list. Raises ValueError for what is no bare address."""
    found = [one.strip() for one in (given.split(",") if isinstance(given, str) else given) if one.strip()]
    for one in found:
        if not re.fullmatch(r"[^@\s<>,;:\"\\]+@[\w.-]+", one):
            raise ValueError(f"{one!r} is no address; write it without a name")
    return found


if __name__ == "__main__":
    Mail.main()
