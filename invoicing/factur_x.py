"""What makes a PDF/A-3 with an e-invoice inside a Factur-X (ZUGFeRD) document: a few lines of its metadata.

The metadata of a PDF/A is plain XML that must declare every schema it uses. The new version of it is added
to the end of the file as an update, which PDF/A allows; nothing of the typeset file is changed.
"""

from __future__ import annotations

import re
from typing import Final

from ingest.errors import BrokenState

ATTACHMENT: Final = "factur-x.xml"
_NAMESPACE: Final = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
_PROPERTIES: Final = (
    ("DocumentFileName", "name of the embedded XML invoice file"),
    ("DocumentType", "INVOICE"),
    ("Version", "The actual version of the Factur-X XML schema"),
    ("ConformanceLevel", "The conformance level of the embedded Factur-X data"),
)
_VALUES: Final = (
    ("DocumentType", "INVOICE"),
    ("DocumentFileName", ATTACHMENT),
    ("Version", "1.0"),
    ("ConformanceLevel", "EN 16931"),
)
_SCHEMAS_END: Final = b"</rdf:Bag></pdfaExtension:schemas>"
_RDF_END: Final = b"</rdf:RDF>"
_METADATA: Final = re.compile(
    rb"(?P<number>\d+) 0 obj\n<</Length \d+/Type/Metadata/Subtype/XML>>\nstream\n(?P<xml>.*?)\nendstream",
    re.DOTALL,
)
_TRAILER: Final = re.compile(
    rb"trailer\n<<(?P<entries>.*?)>>\nstartxref\n(?P<start>\d+)\n%%EOF\s*\Z", re.DOTALL
)


def with_factur_x_metadata(pdf: bytes) -> bytes:
    """The same document with the metadata of Factur-X, profile EN 16931. Raises BrokenState for a file that
    is not made as typst makes them."""
    metadata, trailer = _METADATA.search(pdf), _TRAILER.search(pdf)
    if metadata is None or trailer is None or _SCHEMAS_END not in metadata["xml"]:
        raise BrokenState(
            "the typeset file has no metadata where Factur-X needs them. Install the version of typst that "
            "this version of Ratemill was made for."
        )
    xml = metadata["xml"].replace(_SCHEMAS_END, _extension() + _SCHEMAS_END)
    xml = xml.replace(_RDF_END, _description() + _RDF_END)
    number, whole = metadata["number"], pdf if pdf.endswith(b"\n") else pdf + b"\n"
    head = b"%s 0 obj\n<</Length %d/Type/Metadata/Subtype/XML>>\nstream\n" % (number, len(xml))
    added = head + xml + b"\nendstream\nendobj\n"
    table = b"xref\n0 1\n0000000000 65535 f\r\n%s 1\n%010d 00000 n\r\n" % (number, len(whole))
    entries = b"trailer\n<<%s/Prev %s>>\n" % (trailer["entries"], trailer["start"])
    return whole + added + table + entries + b"startxref\n%d\n%%%%EOF\n" % (len(whole) + len(added))


def _extension() -> bytes:
    """The declaration of the schema, as PDF/A wants one for every schema that is not its own."""
    properties = "".join(
        '<rdf:li rdf:parseType="Resource">'
        f"<pdfaProperty:name>{name}</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType>"
        "<pdfaProperty:category>external</pdfaProperty:category>"
        f"<pdfaProperty:description>{words}</pdfaProperty:description></rdf:li>"
        for name, words in _PROPERTIES
    )
    return (
        '<rdf:li rdf:parseType="Resource">'
        "<pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>"
        f"<pdfaSchema:namespaceURI>{_NAMESPACE}</pdfaSchema:namespaceURI>"
        "<pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{properties}</rdf:Seq></pdfaSchema:property></rdf:li>"
    ).encode()


def _description() -> bytes:
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, value in _VALUES)
    return f'<rdf:Description rdf:about="" xmlns:fx="{_NAMESPACE}">{values}</rdf:Description>'.encode()
