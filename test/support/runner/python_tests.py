"""Runs the Python tests of a folder (files *_test.py), reporting each as it ends."""

import os
import signal
import sys
import time
import unittest

TEST_TIMEOUT = 420  # seconds; a test that needs more says so in an attribute `timeout` of its class


class TestHangs(Exception):
    """A single test took longer than any of them may."""


class _Result(unittest.TestResult):
    """Hands every result to the report; a test that does not end is ended by an alarm."""

    def __init__(self, report, prefix):
        super().__init__()
        self.report = report
        self.prefix = prefix
        self.begun = 0.0
        self.failed_subtests = []

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()
        self.failed_subtests = []
        signal.alarm(getattr(test, "timeout", TEST_TIMEOUT))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def _name(self, test):
        words = test.id().split(".")
        return f"{self.prefix}/{'.'.join(words)}"

    def addSuccess(self, test):
        self.report.ok(self._name(test), time.monotonic() - self.begun)

    def addFailure(self, test, err):
        self.report.fail(self._name(test), self._exc_info_to_string(err, test))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.failed_subtests.append(subtest)
            self.report.fail(f"{self._name(test)} {subtest._subDescription()}", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        self.report.skip(self._name(test), reason)


def _on_alarm(_signal, _frame):
    raise TestHangs("no end within the time of a test")


def _flatten(suite):
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from _flatten(entry)
        else:
            yield entry


def load(folder):
    """The tests of a folder, in order of file and definition."""
    suites = []
    for name in sorted(os.listdir(folder)):
        if name.endswith("_test.py"):
            # First each time: a module may have put another folder there, which has one of the same name.
            sys.path[:] = [folder, *(other for other in sys.path if other != folder)]
            suites.append(unittest.defaultTestLoader.loadTestsFromName(name[:-3]))
            found = sys.modules[name[:-3]].__file__
            if os.path.dirname(os.path.abspath(found)) != os.path.abspath(folder):
                raise ImportError(f"{found} was loaded instead of {os.path.join(folder, name)}")
    return list(_flatten(suites))


def run(report, prefix, folder, wanted, modules=None):
    """Runs the tests of `folder` (of these modules only) whose names are wanted."""
    result = _Result(report, prefix)
    chosen = unittest.TestSuite(test for test in load(folder) if wanted(f"{prefix}/{test.id()}")
                                and (modules is None or test.id().split(".")[0] in modules))
    signal.signal(signal.SIGALRM, _on_alarm)
    classes = {type(test) for test in _flatten(chosen)}
    try:
        chosen.run(result)
    except BaseException:
        for one in classes:  # an interrupted class has not removed its fleet
            one.doClassCleanups()
        raise
