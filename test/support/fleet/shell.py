"""Runs commands to completion, and daemons until they are stopped.

Every daemon runs in its own session and is signalled by pid; processes are never matched by name.
"""

import os
import signal
import subprocess
import time


class CommandError(RuntimeError):
    """A command failed; the message contains the command line and its output."""


class Undecided(AssertionError):
    """A condition is neither true nor false: wait_until() asks again, and an assertion fails."""


def run(args, check=True, timeout=60, stdin=None, env=None, cwd=None):
    """Runs a command and returns its CompletedProcess (text). Raises CommandError if `check` and it failed."""
    try:
        done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(args)}: timed out after {timeout} s") from error
    if check and done.returncode != 0:
        raise CommandError(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


def wait_until(condition, timeout=20.0, interval=0.05, what="condition"):
    """Polls `condition` until it returns a true value, and returns it; TimeoutError after `timeout` seconds, or so
    many times as much as a slow machine asks for."""
    timeout *= float(os.environ.get("ISTHMUS_TEST_PATIENCE", 1))
    deadline = time.monotonic() + timeout
    while True:
        undecided = ""
        try:
            if value := condition():
                return value
        except Undecided as error:
            undecided = f" ({error})"
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: timed out after {timeout:g} s{undecided}")
        time.sleep(interval)


def start_ticks(pid):
    """Start time of a process in clock ticks since boot, or None. (pid, start time) identifies a process uniquely."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def end_process(pid, ticks, timeout=5.0):
    """Stops process `pid` with TERM, then KILL; does nothing if the pid was reused (`ticks` differs)."""
    for sig, grace in ((signal.SIGTERM, timeout), (signal.SIGKILL, timeout)):
        if start_ticks(pid) != ticks:
            return
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            reap(pid)
            if start_ticks(pid) != ticks:
                return
            time.sleep(0.02)


def reap(pid):
    """Reaps `pid` if it is a child of this process."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


class Daemon:
    """A process that runs until stop(); its output is appended to a log file."""

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
        """Sends a signal; does nothing if the process has exited."""
        if self.alive:
            self.popen.send_signal(sig)

    def kill(self):
        """Sends SIGKILL and waits for the exit."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, timeout=5.0):
        """Sends SIGTERM, then SIGKILL after `timeout` seconds."""
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
