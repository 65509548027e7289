"""Commands and processes: run to the end, or kept until told to stop.

Every process is started in a session of its own and ended by its number; nothing is ever ended by name.
"""

import os
import signal
import subprocess
import time


class CommandError(RuntimeError):
    """A command failed; the text holds the command line and what it wrote."""


def run(args, check=True, timeout=60, stdin=None, env=None, cwd=None):
    """Runs a command and returns its CompletedProcess (text). Raises CommandError if `check` and it failed."""
    try:
        done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(args)}: no end after {timeout} s") from error
    if check and done.returncode != 0:
        raise CommandError(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


def wait_until(condition, timeout=20.0, interval=0.05, what="condition"):
    """Calls `condition` until it returns something true and returns that; raises TimeoutError after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def start_ticks(pid):
    """Start time of a process in clock ticks since boot, or None: with the pid it names a process for good."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def end_process(pid, ticks, timeout=5.0):
    """Ends the process `pid` that started at `ticks`: TERM, then KILL. Another process of that number is left alone."""
    for sig, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, timeout)):
        if start_ticks(pid) != ticks:
            return
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            reap(pid)
            if start_ticks(pid) != ticks:
                return
            time.sleep(0.02)


def reap(pid):
    """Collects the exit status if `pid` is a child of ours; a process that is not is left to its parent."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


class Daemon:
    """A process that runs until stop(); its output goes to a log file, behind what earlier ones of the name left."""

    def __init__(self, name, args, log, env=None, stdin=None):
        self.name = name
        self.log = log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(args, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=out, env=env,
                                          start_new_session=True)
        self.pid = self.popen.pid
        self.ticks = start_ticks(self.pid)

    @property
    def alive(self):
        return self.popen.poll() is None

    def signal(self, sig):
        """Sends a signal; a process that has ended is not an error."""
        if self.alive:
            self.popen.send_signal(sig)

    def kill(self):
        """kill -9, and waits for the end."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, timeout=5.0):
        """Ends it: TERM, then KILL after `timeout` s."""
        self.signal(signal.SIGTERM)
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self, lines=15):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""
