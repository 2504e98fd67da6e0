"""XML from nested calls: what is empty is left out, so that a writer reads like the document it makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lxml import etree

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class Names:
    """Elements of a document whose namespaces have short names: ``names("cbc:ID", "17")``."""

    def __init__(self, namespaces: Mapping[str, str]) -> None:
        self._namespaces = dict(namespaces)

    def __call__(self, name: str, *content: Any, **attributes: str) -> Any:
        """An element with texts and elements in it; None where all of that is empty, so that the elements
        around it vanish as well. Characters that XML cannot hold become U+FFFD."""
        elements = [part for part in content if part is not None and not isinstance(part, str)]
        text = "".join(part for part in content if isinstance(part, str))
        if not text and not elements:
            return None
        prefix, _, local = name.partition(":")
        made = etree.Element(f"{{{self._namespaces[prefix]}}}{local}", nsmap=self._namespaces)
        if text:
            made.text = _NOT_XML.sub(REPLACEMENT, text)
        for attribute, value in attributes.items():
            made.set(attribute, _NOT_XML.sub(REPLACEMENT, value))
        made.extend(elements)
        return made


def xml_bytes(root: Any) -> bytes:
    """The document in UTF-8, indented, with its declaration; the same tree is the same bytes."""
    etree.cleanup_namespaces(root)
    etree.indent(root)
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return written + b"\n"
