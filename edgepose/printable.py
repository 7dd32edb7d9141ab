"""Text out of files, made fit to be shown: on a terminal, in a log, in Markdown.

A model file's spec, a result file or a photo's name may hold anything: escape sequences that rewrite the terminal, line ends that fake a
line of ours, right-to-left marks, half of a surrogate pair, HTML. What is shown keeps every character that is seen and spells the others
out.
"""

import json
import logging
import re

__all__ = ["MarkdownText", "PrintableFormatter", "markdown_code", "markdown_string", "markdown_text", "printable"]

MarkdownText = str
"""What ``markdown_text`` returned."""

_SPECIAL = re.compile(r"[\\`*|]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|~(?=~)|(?<=~)~")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_BEGINS_BLOCK = re.compile(r"^([#+=~-]|\d+(?=[.)](?:\s|$)))")
_PLAIN = re.compile(r"[\w .,:;/@+=()…%-]+")


def printable(text: str, *, continuation: str | None = None) -> str:
    r"""Return text in which every character that can't be seen is spelt out: ``\x1b``, ``\u202e``, ``\ud800``.

    Args:
        text: from anywhere.
        continuation: what every line but the first begins with; ``None`` spells line ends out as well (``\n``).
    """
    if text.isprintable():
        return text
    if continuation is not None:
        return f"\n{continuation}".join(printable(line.replace("\t", "    ")) for line in text.split("\n"))
    return "".join(letter if letter.isprintable() else _spell(letter) for letter in text)


def markdown_text(text: str) -> MarkdownText:
    """Return text that Markdown shows as it is, on one line: neither HTML nor a link, a heading or a cell's end."""
    line = printable(" ".join(text.split()))
    line = _SPECIAL.sub(r"\\\g<0>", _ENTITY.sub("&amp;", line)).replace("<", "&lt;").replace(">", "&gt;")
    begin = _BEGINS_BLOCK.match(line)
    if begin is None:
        return line
    # A number would begin a list by the dot behind it.
    return f"{begin[0]}\\{line[begin.end() :]}" if begin[0].isdecimal() else f"\\{line}"


def markdown_code(text: str) -> MarkdownText:
    """Return text as a code span where it is plain words, numbers and paths; else as ``markdown_text``, which needs no fence."""
    return f"`{text}`" if _PLAIN.fullmatch(text) and text.strip() == text and text.isprintable() else markdown_text(text)


def markdown_string(text: str) -> str:
    """Return text as a quoted string that is one in JSON, YAML and Python, and holds no HTML."""
    return json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e")


class PrintableFormatter(logging.Formatter):
    """Formats log records with ``printable`` messages."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return printable(super().format(record), continuation="  ")


def _spell(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
