"""What the program's own --help says, as a tree of commands: the one source of man pages and completions.

The help is CLI11's: headed lists whose entries have names in the first 30 columns, and what is said of them behind."""

import re
import subprocess
from dataclasses import dataclass, field

SECTION = re.compile(r"^([A-Z][A-Za-z ]*):$")
COLUMN = 30
# Of lists that are no options: everything else that has a heading and entries with dashes is a group of options.
OTHERS = ("Positionals", "Subcommands", "Examples", "Exit codes", "Environment")


@dataclass
class Option:
    names: list  # as "-o", "--output"
    value: str   # what it takes, "FILE"; empty: nothing
    choices: list
    purpose: str


@dataclass
class Command:
    path: tuple  # ("policy", "trace"); of the program itself ()
    purpose: str
    text: str    # of --help, whole
    options: list = field(default_factory=list)
    positionals: list = field(default_factory=list)  # (name, purpose)
    commands: list = field(default_factory=list)

    @property
    def name(self):
        return " ".join(self.path)

    def walk(self):
        yield self
        for inner in self.commands:
            yield from inner.walk()


def entries(text):
    """(section, names, purpose) of each entry of the headed lists."""
    found, section = [], None
    for line in text.splitlines():
        headed = SECTION.match(line)
        if headed:
            section = headed.group(1)
        elif section and re.match(r"^  \S", line):
            cut = COLUMN if len(line) > COLUMN and line[COLUMN - 1] == " " else len(line)
            found.append([section, line[:cut].strip(), line[cut:].strip()])
        elif section and found and line.startswith(" " * COLUMN) and not found[-1][2]:
            found[-1][2] = line.strip()
        elif line and not line.startswith(" "):
            section = None  # a paragraph
    return found


def option_of(names, purpose):
    """From "-o,--output FORMAT:{table,json}=table", "--hub Excludes: --counters" or "-c,--config FILE REQUIRED"."""
    names, _, rest = names.partition(" ")
    rest = re.sub(r"\s*(REQUIRED|\.\.\.|(Excludes|Needs): .*)", "", rest).strip()
    choices = re.search(r"\{([^}]*)\}", rest)
    value = "" if not rest else re.split(r":(?:\{|[A-Z]+ in )|=", rest)[0]
    return Option(names.split(","), value, choices.group(1).split(",") if choices else [], purpose)


def command_of(program, path=(), purpose=""):
    text = subprocess.run([program, *path, "--help"], capture_output=True, text=True, check=True).stdout
    command = Command(path, purpose or text.splitlines()[0], text)
    for section, names, what in entries(text):
        if section == "Subcommands":
            command.commands.append(command_of(program, (*path, names), what))
        elif section == "Positionals":
            command.positionals.append((names.split()[0], what))
        elif section not in OTHERS and names.startswith("-"):
            command.options.append(option_of(names, what))
    return command
