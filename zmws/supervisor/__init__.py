"""Keeping the processes of an installation: start, stop, what runs, what they log.

    processes   which there are to be, and which are noted in run/ (pidfile, sessions)
    start       starts what does not run, and waits until it is ready (children)
    stop        ends what runs, and what was left by what has died
    status      how they are (broker, ports); logs, what they wrote

It prints nothing: what happens on the way is told as events, and the verbs of the command line print them.
"""
