"""Progress output for a person: steps, checks and tables; colours only on a terminal."""

import sys


class Console:
    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.colour = stream.isatty()
        self.failures = []

    def _paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def line(self, text=""):
        print(text, file=self.stream, flush=True)

    def title(self, text):
        self.line(self._paint("1", text))

    def step(self, text):
        self.line()
        self.line(self._paint("1;36", f"> {text}"))

    def command(self, text):
        """A shell command equivalent to what is done."""
        self.line(self._paint("2", f"    $ {text}"))

    def note(self, text):
        self.line(f"    {text}")

    def ok(self, text):
        self.line(f"  {self._paint('32', 'ok')}    {text}")

    def fail(self, text):
        """Prints a failure and keeps its first line in `failures` for the end."""
        first, *rest = text.splitlines()
        self.failures.append(first)
        self.line(f"  {self._paint('31', 'FAIL')}  {first}")
        for row in rest:
            self.line(f"        {row}")

    def check(self, passed, text, detail=""):
        """Prints `text` as passed or failed; `detail` is appended on failure."""
        if passed:
            self.ok(text)
        else:
            self.fail(f"{text}: {detail}" if detail else text)
        return passed

    def table(self, heads, rows, indent="    "):
        """Columns as wide as their widest cell; numeric columns are right-aligned."""
        texts = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [list(heads), *texts]) for i in range(len(heads))]
        right = [all(not isinstance(row[i], str) or row[i] in ("-", "") for row in rows) for i in range(len(heads))]

        def aligned(cells):
            return "  ".join(cell.rjust(width) if to_right else cell.ljust(width)
                             for cell, width, to_right in zip(cells, widths, right)).rstrip()

        self.line(indent + self._paint("1", aligned(list(heads))))
        for row in texts:
            self.line(indent + aligned(row))
