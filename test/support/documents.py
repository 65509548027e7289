"""Commands of the documents, for the tests that run them as they stand there.

A block of commands has a name behind its language: ```sh vm-install. Who runs it asks for `block("vm-install")`. What
no test can run says so, and what it lacks: ```sh vm-azure untested: needs Azure.
"""

import os
import re
from collections import namedtuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ("README.md", "packaging/README.md", "packaging/helm/isthmus/README.md")

# text: the commands, comments taken off; untested: what a test of it would lack, or None.
Block = namedtuple("Block", "document line language name untested text")

FENCE = re.compile(r"^```(?P<language>\w*)(?: +(?P<name>[a-z0-9-]+))?(?: +untested: +(?P<untested>.+))?(?P<rest>.*)$")


def without_comment(line):
    """The line without what stands behind a blank and a #."""
    return re.sub(r"(^|\s+)#\s.*$", "", line).rstrip()


def blocks(document, text=None):
    """Every fenced block of a document, in order. ValueError: a fence that is not closed, or says something else."""
    if text is None:
        with open(os.path.join(ROOT, document), encoding="utf-8") as file:
            text = file.read()
    found, opened, lines = [], None, []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("```"):
            lines.append(without_comment(line))
        elif opened is None:
            opened = (number, FENCE.match(line))
            if opened[1] is None or opened[1]["rest"]:
                raise ValueError(f"{document}:{number}: {line}: a language, a name, and 'untested: WHY' may stand here")
            lines = []
        else:
            start, fence = opened
            found.append(Block(document, start, fence["language"], fence["name"], fence["untested"],
                               "\n".join(line for line in lines if line)))
            opened = None
    if opened is not None:
        raise ValueError(f"{document}:{opened[0]}: the block has no end")
    return found


def block(name):
    """The commands of that name in any of the documents."""
    return next(one.text for document in DOCUMENTS for one in blocks(document) if one.name == name)
