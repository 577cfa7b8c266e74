"""Shows docstrings as they are meant: plain text with `code`; fields of dataclasses come with the comments beside them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any

from sphinx.application import Sphinx

FIELD_COMMENT = re.compile(r"#\s?(.*)$")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _rewrite)
    return {"parallel_read_safe": True}


def _rewrite(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst(lines)
    if what == "class" and dataclasses.is_dataclass(obj):
        lines += ["", *field_list(obj)]


def as_rst(lines: list[str]) -> list[str]:
    """Paragraphs stay paragraphs, `code` becomes literal, indented blocks become literal blocks, nothing else is markup."""
    out: list[str] = []
    in_block = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not in_block and not line.strip().startswith(("-", "*")):
            out += ["", "::", ""]
            in_block = True
        elif line.strip() and not indented and in_block:
            out.append("")
            in_block = False
        out.append(line if in_block else escaped(line))
    return out


def escaped(line: str) -> str:
    """One line of prose as reStructuredText."""
    lead, bullet, rest = re.match(r"(\s*)([-*] )?(.*)", line).groups()  # type: ignore[union-attr]
    parts = re.split(r"`+([^`]+)`+", rest)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"([\\*_|`])", r"\\\1", parts[index])
    words = [part if index % 2 == 0 else f"``{part.strip()}``" for index, part in enumerate(parts)]
    for index in range(1, len(words), 2):  # a literal must be set off from letters that touch it
        if words[index - 1][-1:].isalnum():
            words[index] = rf"\ {words[index]}"
        if words[index + 1][:1].isalnum():
            words[index] = rf"{words[index]}\ "
    joined = "".join(words)
    return f"{lead}{bullet or ''}{joined}"


def field_list(kind: type) -> list[str]:
    """The fields of a dataclass: type, default, and the comment or the description that stands beside them."""
    comments = source_comments(kind)
    out = []
    for field in dataclasses.fields(kind):
        text = field.metadata.get("description") or comments.get(field.name, "")
        default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
        hint = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        out.append(f"* ``{field.name}: {hint}{default}``" + (f": {escaped(text)}" if text else ""))
    return out


def source_comments(kind: type) -> dict[str, str]:
    """Field name -> the comment at the end of its line."""
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}
    lines = source.splitlines()
    comments = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            line = lines[node.end_lineno - 1][node.end_col_offset :]  # type: ignore[operator]
            if match := FIELD_COMMENT.search(line):
                comments[node.target.id] = match.group(1)
    return comments
