"""Words for a person watching: steps, facts, tables; colours only on a terminal."""

import sys


class Console:
    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.colour = stream.isatty()
        self.problems = []

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
        """A command as a person would type it."""
        self.line(self._paint("2", f"    $ {text}"))

    def note(self, text):
        self.line(f"    {text}")

    def ok(self, text):
        self.line(f"  {self._paint('32', 'ok')}  {text}")

    def problem(self, text):
        """Something did not work; the end of the tour repeats it."""
        self.problems.append(text.splitlines()[0])
        first, *rest = text.splitlines()
        self.line(f"  {self._paint('31', 'NO')}  {first}")
        for row in rest:
            self.line(f"      {row}")

    def check(self, good, text, otherwise=""):
        """One fact that is expected to hold."""
        if good:
            self.ok(text)
        else:
            self.problem(f"{text}: {otherwise}" if otherwise else text)
        return good

    def table(self, heads, rows, indent="    "):
        """Columns as wide as they need; numbers to the right."""
        texts = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [list(heads), *texts]) for i in range(len(heads))]
        right = [all(not isinstance(row[i], str) or row[i] in ("-", "") for row in rows) for i in range(len(heads))]

        def shaped(cells):
            return "  ".join(cell.rjust(width) if to_right else cell.ljust(width)
                             for cell, width, to_right in zip(cells, widths, right)).rstrip()

        self.line(indent + self._paint("1", shaped(list(heads))))
        for row in texts:
            self.line(indent + shaped(row))
