"""Finds namespaces, types and functions in clang-formatted C++ and C, without a compiler.

A scope is known by the text in front of its opening brace. Two rules of the formatting make this reliable: the brace of
a body has white space in front of it, that of an initializer (`x{1}`) has none, except after `=`, `return` and `(`.
"""

import re
from dataclasses import dataclass

# What is blanked before scanning: comments, raw strings, strings, characters, preprocessor lines.
SKIPPED = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>\w*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.DOTALL | re.MULTILINE)
ATTRIBUTE = re.compile(r"\[\[.*?\]\]|\balignas\([^)]*\)|__attribute__\(\(.*?\)\)|\bSEC\([^)]*\)", re.DOTALL)
TYPE = re.compile(r"^(?:typedef\s+|static\s+|const\s+)*(?:enum\s+class|enum\s+struct|enum|class|struct|union)\b\s*"
                  r"((?:\w+::)*\w+(?:<[^{]*>)?)?(?=$|\s)[^(]*$", re.DOTALL)
FUNCTION_NAME = re.compile(r"((?:\w+(?:<[^()]*>)?::)*(?:operator\s*(?:\(\)|[^\s(]+|\w+)|~?\w+))\s*\(")
TEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST)\((\w+),\s*(\w+)\)")


@dataclass
class Scope:
    kind: str     # "namespace", "type", "enum", "function" or "block"
    name: str     # as written; "" if it has none
    outer: tuple  # the named scopes around it, outermost first
    first: int    # line numbers, from 1
    last: int = 0
    body: tuple = (0, 0)  # offsets of the text between the braces

    @property
    def qualified(self):
        return "::".join([scope.name for scope in self.outer if scope.kind != "function"] + [self.name])

    def inside(self, kind, name=None):
        return any(scope.kind == kind and name in (None, scope.name) for scope in self.outer)


def blank(text):
    """The text with comments, strings and preprocessor lines replaced by spaces; offsets and lines stay."""
    def spaces(match):
        kept = r'[^\n"]' if match.group().startswith('"') else r"[^\n]"
        return re.sub(kept, " ", match.group())
    return SKIPPED.sub(spaces, text)


def without_template(head):
    """A declaration without the `template <...>` in front of it."""
    while match := re.match(r"template\s*<", head):
        depth, end = 1, match.end()
        while depth and end < len(head):
            depth += {"<": 1, ">": -1}.get(head[end], 0)
            end += 1
        head = head[end:].lstrip()
    return head


def classify(head):
    """(kind, name) of the scope whose opening brace follows `head`, at namespace or class level."""
    head = without_template(ATTRIBUTE.sub(" ", head).strip())
    if match := re.match(r"(?:inline\s+)?namespace\b\s*([\w:]*)", head):
        return "namespace", match.group(1)
    if re.match(r'extern\s*"\s*"$', head):
        return "namespace", "extern C"
    if match := TYPE.match(head):
        return "enum" if re.search(r"\benum\b", head) else "type", match.group(1) or ""
    if match := TEST.match(head):
        return "function", ".".join(match.groups())
    if match := FUNCTION_NAME.search(head):
        return "function", match.group(1)
    return "block", ""


def is_initializer(text, brace):
    """Whether the brace at this offset opens an initializer and not a body."""
    before = text[max(0, brace - 200):brace]
    return not before[-1:].isspace() or re.search(r"(?:[=(,{\[]|\breturn)\s*$", before) is not None


def scan(text):
    """The scopes of a source file, in the order of their opening braces."""
    text = blank(text)
    found, stack, head, parens = [], [], 0, 0
    for match in re.finditer(r"[{};()]", text):
        at, char = match.start(), match.group()
        if char in "()":
            parens += 1 if char == "(" else -1
        elif char == ";" and parens == 0:
            head = at + 1
        elif char == "{":
            in_code = any(scope is None or scope.kind in ("function", "block") for scope, _ in stack)
            if in_code or parens or is_initializer(text, at):
                stack.append((None, parens))
                continue
            start = at - len(text[head:at].lstrip()) if text[head:at].strip() else at
            label = re.match(r"(?:public|private|protected):\s*", text[start:at])
            start += label.end() if label else 0
            kind, name = classify(text[start:at])
            scope = Scope(kind, name, tuple(entry for entry, _ in stack if entry and entry.kind != "block"),
                          text.count("\n", 0, start) + 1, body=(at + 1, at + 1))
            found.append(scope)
            stack.append((scope, parens))
            head = at + 1
        elif char == "}" and stack:
            scope, parens = stack.pop()
            if scope is not None:
                scope.last = text.count("\n", 0, at) + 1
                scope.body = (scope.body[0], at)
                head = at + 1
            elif not any(entry is not None and entry.kind in ("function", "block") for entry, _ in stack):
                pass  # an initializer at namespace or class level: its declaration goes on
            else:
                head = at + 1
    return found


def statements(text, scope):
    """What is declared directly in a scope, as statements without bodies and initializers."""
    body = blank(text)[scope.body[0]:scope.body[1]]
    while (flat := re.sub(r"\{[^{}]*\}", "@", body)) != body:
        body = flat
    body = re.sub(r"(\)[\w\s:(),@.]*?)@", r"\1;", body)  # a function's body ends its declaration, as a semicolon does
    return [" ".join(part.split()) for part in re.split(r";|\b(?:public|private|protected):", body) if part.strip()]


def declared(text, scope):
    """Names of the functions and the fields that a scope declares; constructors and operators are left out."""
    functions, fields = [], []
    for statement in statements(text, scope):
        head = without_template(ATTRIBUTE.sub(" ", statement).strip())
        while (flat := re.sub(r"<[^<>]*>", "", head)) != head:
            head = flat
        if re.match(r"(?:using|friend|static_assert|typedef|namespace|struct|class|enum|union)\b", head):
            continue
        before_value = head.split("=")[0]
        if "(" in before_value:
            name = before_value.split("(")[0].split()[-1].lstrip("*&")
            if name.isidentifier() and name != scope.name and "operator" not in before_value.split("("):
                functions.append(name)
        elif scope.kind == "type":
            for part in re.sub(r"=[^,]*", "", head).split(","):
                words = re.findall(r"\w+", part.replace("@", ""))
                fields += words[-1:]
    return functions, fields
