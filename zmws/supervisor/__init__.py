"""Keeping the processes of an installation: start, stop, what runs."""

from zmws.supervisor.processes import Installation, Process

__all__ = ["Installation", "Process"]
