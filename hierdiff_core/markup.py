"""Text inside XML: any prompt becomes text that every XML reader accepts."""

from __future__ import annotations

import re

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def xml_text(text: str) -> str:
    """Return text escaped for XML content and quoted attributes.

    Characters that XML forbids become spaces: control characters, halves of surrogate pairs and two
    non-characters (XML 1.0, production 2). A carriage return is escaped because readers would turn
    it into a line feed.
    """
    return "".join(_ESCAPES.get(each, each) for each in _NOT_XML.sub(" ", text))
