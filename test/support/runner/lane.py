"""A part of the run beside the rest: a process of its own at low priority, whose results join those of the run."""

import ctypes
import json
import os
import signal
import sys
import threading
import traceback

NICE = 15
PR_SET_PDEATHSIG = 1


class _PipeReport:
    """Sends every result to the process that prints and counts."""

    def __init__(self, out):
        self._out = out

    def _send(self, *words):
        self._out.write(json.dumps(words) + "\n")
        self._out.flush()

    def section(self, text):
        self._send("section", text)

    def ok(self, name, seconds):
        self._send("ok", name, seconds)

    def skip(self, name, why):
        self._send("skip", name, why)

    def fail(self, name, text):
        self._send("fail", name, text)

    def show(self, text):
        self._send("show", text)


class Lane:
    """Runs `work(report)` beside the caller; wait() returns when all of its results have been reported."""

    def __init__(self, report, work):
        self._report = report
        read, write = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(read)
            self._child(os.fdopen(write, "w"), work)
        os.close(write)
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(read),), daemon=True)
        self._reader.start()

    @staticmethod
    def _child(out, work):
        status = 1
        try:
            # A group of its own, ended as a whole with what it has started; also when the run is killed.
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            os.nice(NICE)
            work(_PipeReport(out))
            status = 0
        except BaseException:  # whatever ends it must not go on as a second run
            traceback.print_exc()
        finally:
            out.close()
            os._exit(status)

    def _read(self, lines):
        for line in lines:
            kind, *words = json.loads(line)
            getattr(self._report, kind)(*words)

    def stop(self):
        """Ends it and everything it has started; its results are no longer wanted."""
        try:
            os.killpg(self._pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def wait(self):
        _, status = os.waitpid(self._pid, 0)
        self._reader.join()
        if status != 0:
            self._report.fail("runner", "the part that ran beside the others ended early; see above")
