"""Results as they come, one line a test, and the closing count. Any thread may report."""

import sys
import threading
import time

COLOURS = {"ok": "32", "FAIL": "31", "skip": "33"}


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.started = time.monotonic()
        self._lock = threading.Lock()

    def section(self, text):
        with self._lock:
            print(f"\n== {text} ({time.monotonic() - self.started:.0f} s since the start)", flush=True)

    def show(self, text):
        """More of what a test wrote."""
        with self._lock:
            print("\n".join(f"      | {line}" for line in text.rstrip().splitlines()[-80:]), flush=True)

    def ok(self, name, seconds):
        with self._lock:
            self.passed += 1
            self._line("ok", name, f"{seconds:.2f} s")

    def skip(self, name, why):
        with self._lock:
            self.skipped += 1
            self._line("skip", name, why.strip().splitlines()[0] if why.strip() else "")

    def fail(self, name, text):
        """A failed test with what it wrote, which is shown at once."""
        with self._lock:
            self.failed += 1
            self.failures.append(name)
            self._line("FAIL", name, "")
            for line in text.rstrip().splitlines()[-60:]:
                print(f"      | {line}")
            sys.stdout.flush()

    @staticmethod
    def _line(word, name, note):
        shown = f"\033[{COLOURS[word]}m{word:4}\033[0m" if sys.stdout.isatty() else f"{word:4}"
        print(f"{shown} {name}  {note}".rstrip(), flush=True)

    def close(self):
        """Prints the closing line; returns the exit status: 0 only if something passed and nothing failed."""
        if self.failures:
            print("\nFailed:")
            for name in self.failures:
                print(f"  {name}")
        print(f"\n{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 0 if self.passed and not self.failed else 1
