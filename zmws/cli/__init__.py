"""The command line. Verbs are loaded when they are asked for: `zmws call` must start fast."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
from typing import Any

import click

# In which module of this room a verb is, and what it does.
_VERBS = {
    "init": ("init", "Make a new project: settings, a worker, a test."),
    "start": ("control", "Start the broker and the workers, detached, and wait until they are ready."),
    "stop": ("control", "Stop the workers, then the broker."),
    "restart": ("control", "Stop, then start, with the settings as they are now."),
    "reload": ("changing", "Take up the settings and the code as they are now, without an interruption."),
    "scale": ("changing", "Run so many copies of a worker, until the settings are read again."),
    "status": ("status", "What runs here, and how the broker is."),
    "top": ("top", "Watch services and processes: what waits, what runs, what is done each second."),
    "logs": ("status", "Show the log of a process."),
    "config": ("config", "Check the settings."),
    "broker": ("foreground", "Run the broker in the foreground."),
    "gateway": ("gateway", "Serve HTTP in the foreground; make its tokens."),
    "worker": ("foreground", "Run one worker in the foreground."),
    "call": ("calls", "Ask for a service and wait for the result."),
    "submit": ("calls", "Submit a job, or one per line of a file."),
    "job": ("job", "Look at a job, wait for it, ask where it is; cancel, retry, copy or delete one or many."),
    "batch": ("batch", "Jobs that end together: open, add, close, wait; or one per line of a file."),
    "schedule": ("schedule", "Recurring jobs: add, list, pause, run; when one is due next."),
    "jobs": ("looking", "List jobs, newest first, or search them."),
    "failures": ("insight", "List why jobs have failed, by cause."),
    "series": ("insight", "Plot what was done over time."),
    "lanes": ("lanes", "Draw what each worker did in the last minutes."),
    "mark": ("insight", "Mark this moment in the figures, such as a deploy."),
    "keys": ("keys", "Who may come in, and what they may: make keys and tokens, revoke them."),
    "audit": ("audit", "List what operators did, newest first."),
    "services": ("looking", "List services with their counts, show one, or make it unknown."),
    "workers": ("looking", "List the workers, or drain some."),
    "peek": ("looking", "List the jobs of a service that are next."),
    "events": ("news", "Watch what happens to jobs and workers."),
    "stats": ("looking", "Show the broker's counters."),
    "pause": ("operating", "Start no more jobs of a service."),
    "resume": ("operating", "Start jobs of a paused service again."),
    "limit": ("operating", "Set limits of a service, as of now."),
    "purge": ("operating", "Cancel all jobs of a service that wait."),
    "backup": ("storing", "Copy the store to a file; the broker may go on."),
    "restore": ("storing", "Go back to a backup."),
    "check": ("storing", "Look for damage in the store."),
    "completion": ("completion", "What a shell needs to complete these with TAB."),
}


_QUICK = ("call", "submit")  # verbs that scripts run again and again
COMPLETE = "_ZMWS_COMPLETE"  # the variable by which a shell asks, however this program was started


class _Verbs(click.Group):
    """Loads a verb's module when the verb is used; lists them without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        # All that is loaded stays: to look for garbage among it, again and again, is a tenth of that time.
        collected = gc.isenabled()
        gc.disable()
        try:
            module = importlib.import_module(f"{__name__}.{_VERBS[cmd_name][0]}")
            from zmws.cli.examples import with_examples
        finally:
            if collected:
                gc.enable()
        return with_examples(getattr(module, cmd_name), cmd_name)

    def make_context(self, *args: Any, **given: Any) -> click.Context:
        try:
            return super().make_context(*args, **given)
        except BrokenPipeError:
            # Without a number click lets it pass; with it, it would end with 1, and say nothing of why.
            raise BrokenPipeError("whoever read the help has gone") from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb. What goes wrong ends here, where it is known whether a program has asked (--json)."""
        from zmws.cli.ends import ended_by
        from zmws.cli.options import FOR_PROGRAMS

        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise  # --help has been shown
        except (Exception, KeyboardInterrupt) as fault:
            return ended_by(fault, as_json=FOR_PROGRAMS in ctx.meta)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in _VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _VERBS:
            from zmws.core.table import no_such

            ctx.fail(no_such(args[0], "command", _VERBS))
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zmws", prog_name="zmws")
def cli() -> None:
    """zmws: a work server. Programs ask for named jobs, worker processes do them.

    Exit codes: 0 done, 1 the job failed, 2 usage, 3 no broker there, 4 refused, 124 timed out.
    """


def main() -> None:
    """The entry point."""
    from zmws.cli import output
    from zmws.cli.ends import ended_by

    output.set_up()
    try:
        code = cli.main(standalone_mode=False, complete_var=COMPLETE)
    except SystemExit:
        raise
    except BaseException as fault:
        code = ended_by(fault)
    code = code if isinstance(code, int) else 0
    if sys.argv[1:2] and sys.argv[1] in _QUICK:
        _end(code)
    sys.exit(code)


def _end(code: int) -> None:
    """End at once, where nothing is left to be done: to take down the interpreter takes a call 10 ms."""
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    if any(not one.daemon for one in others) or sys.gettrace() is not None or sys.getprofile() is not None:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        return  # the usual way says what there is to say
    os._exit(code)
