"""An invoice as a PDF/A-3b, typeset by typst: the same invoice and template are the same bytes.

Everything printed is made into text here, in the customer's language; the page (``templates/invoice.typ``)
only places it. Only fonts that come with typst are used and the file's date is the invoice's, so the bytes
depend on neither machine nor time of day; a document with characters that these fonts lack is set with those
of a folder as well. Tax is printed as the invoice states it; where it states none, the page says that amounts
are net.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import typst

from ingest.errors import BrokenState, InvalidInput
from invoicing.arranged_page import arranged
from invoicing.factur_x import ATTACHMENT, with_factur_x_metadata
from invoicing.invoice import Invoice
from invoicing.invoice_tax import InvoiceTax
from invoicing.payee import payee_of
from invoicing.payment_code import payment_code_svg, payment_code_text
from invoicing.payment_reference import creditor_reference
from invoicing.printed_line import breakable, printed_line
from invoicing.tax_words import billed_party, line_tax_words, sold_to_party, terms_words
from invoicing.template import PLAIN, DocumentTemplate, TemplateTexts, filled
from invoicing.words import Words, words_of

PAGE: Final = Path(__file__).parent / "templates" / "invoice.typ"
PNG_DOTS_PER_INCH: Final = 110
_PDF_STANDARD: Final = "a-3b"
_PAGES: Final = re.compile(rb"/Type/Pages/Count (?P<count>\d+)/Kids")
_NO_GLYPH: Final = re.compile(r'the text `"(?P<text>.*)"` could not be displayed')
"""How typst says that no font has a character; a PDF/A must not have such a one."""
_UNPRINTABLE: Final = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF} - {ord(kept) for kept in "\t\n\r"}
)
"""Characters that have no look in any font."""
PAGE_WORDS: Final = ("description", "quantity", "price", "page", "of")
"""What the page itself says, on every kind of document."""
_PARTY_WORD: Final = 32
"""A longer word of a name or address may be broken; half a page is wide enough for this one."""


class InvoicePrinter:
    """Typesets invoices. May be shared by threads: each gets a compiler of its own, because one
    compiler used by two threads raises. fonts: a folder with fonts for what the shipped ones lack. What
    neither has raises InvalidInput (``font_missing``)."""

    def __init__(self, page: Path = PAGE, *, fonts: Path | None = None) -> None:
        self._page = page
        self._fonts = fonts
        self._main = f'#import "{page.name}": invoice\n#invoice(json(bytes(%s)))'.encode()
        self._per_thread = threading.local()

    def pdf(self, invoice: Invoice, template: DocumentTemplate = PLAIN, *, logo: bytes = b"") -> bytes:
        """The whole document. logo: the seller's, PNG or SVG; one of the template comes before it."""
        return self.pdf_of(printed(invoice, template), dated=_dated(invoice), logo=_logo(template, logo))

    def pro_forma(self, preview: Invoice, template: DocumentTemplate = PLAIN, *, logo: bytes = b"") -> bytes:
        """A preview on the page of an invoice, which says that it is none."""
        return self.pdf_of(
            printed_pro_forma(preview, template), dated=_dated(preview), logo=_logo(template, logo)
        )

    def pdf_of(self, texts: Mapping[str, Any], *, dated: date, logo: bytes = b"", cii: bytes = b"") -> bytes:
        """Any document with the same places on the page (``printed``), like a credit note's; Factur-X when it
        gets an e-invoice (``cii``) inside."""
        made = b"".join(self._typeset(texts, dated, logo, "pdf", cii))
        return with_factur_x_metadata(made) if cii else made

    def factur_x(
        self, invoice: Invoice, cii: bytes, template: DocumentTemplate = PLAIN, *, logo: bytes = b""
    ) -> bytes:
        """The document with its e-invoice (CII of the profile en16931) inside: Factur-X, ZUGFeRD."""
        logo = _logo(template, logo)
        return self.pdf_of(printed(invoice, template), dated=_dated(invoice), logo=logo, cii=cii)

    def png_pages(
        self, invoice: Invoice, template: DocumentTemplate = PLAIN, *, logo: bytes = b""
    ) -> list[bytes]:
        """One picture a page, to look at."""
        return self._typeset(printed(invoice, template), _dated(invoice), _logo(template, logo), "png")

    def _typeset(
        self,
        texts: Mapping[str, Any],
        dated: date,
        logo: bytes,
        kind: Literal["pdf", "png"],
        cii: bytes = b"",
    ) -> list[bytes]:
        data = arranged({**texts, "logo": list(logo), "attachment": ATTACHMENT if cii else ""})
        made = self._compiled(data, cii, dated, kind)
        if data["one_page"] and _page_count(made, kind) > 1:
            made = self._compiled({**data, "one_page": False}, cii, dated, kind)
        return made

    def _compiled(
        self, data: Mapping[str, Any], cii: bytes, dated: date, kind: Literal["pdf", "png"]
    ) -> list[bytes]:
        """With the shipped fonts; if they lack a character, once more with all there are and without what no
        font can show."""
        try:
            return self._set(data, cii, dated, kind, fonts=None)
        except typst.TypstError as error:
            if _NO_GLYPH.search(str(error)) is None:
                raise
        try:
            return self._set(_printable(data), cii, dated, kind, fonts=self._fonts)
        except typst.TypstError as error:
            found = _NO_GLYPH.search(str(error))
            if found is None:
                raise
            where = f"nor those in {self._fonts}" if self._fonts else "and no others are set up"
            raise InvalidInput(
                f"document {data['number']} has {found['text']!r} on it. The fonts that come with Ratemill "
                f"do not have it, {where}. Put a font that has it, like Noto Sans CJK, into a folder, name "
                "it in RATEMILL_FONTS, and start again.",
                reason_code="font_missing",
            ) from error

    def _set(
        self,
        data: Mapping[str, Any],
        cii: bytes,
        dated: date,
        kind: Literal["pdf", "png"],
        *,
        fonts: Path | None,
    ) -> list[bytes]:
        """The texts stand in the program that calls the template, which is parsed once: JSON, its quotes
        escaped as typst does. As inputs, they would have the library built anew for each document."""
        program = self._main % orjson.dumps(orjson.dumps(data).decode())
        files: Any = {"main": program, "attachment": cii}  # accepted, but not in the library's type hints
        output = self._compiler(fonts).compile(
            files,
            format=kind,
            ppi=PNG_DOTS_PER_INCH if kind == "png" else None,
            pdf_standards=[_PDF_STANDARD] if kind == "pdf" else [],
            timestamp=datetime.combine(dated, time(), tzinfo=UTC),
        )
        pages = output if isinstance(output, list) else [output]
        return [page for page in pages if page is not None]

    def _compiler(self, fonts: Path | None) -> typst.Compiler:
        """Of this thread; fonts: those of the folder as well."""
        name = "compiler" if fonts is None else "with_fonts"
        compiler = getattr(self._per_thread, name, None)
        if compiler is None:
            paths = [] if fonts is None else [fonts]
            compiler = typst.Compiler(root=self._page.parent, ignore_system_fonts=True, font_paths=paths)
            setattr(self._per_thread, name, compiler)
        return compiler


def _printable(value: Any) -> Any:
    """The same texts without what no font can show."""
    if isinstance(value, str):
        return value.translate(_UNPRINTABLE)
    if isinstance(value, Mapping):
        return {name: _printable(one) for name, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list | tuple) else value


def _page_count(made: Sequence[bytes], kind: Literal["pdf", "png"]) -> int:
    """Raises BrokenState for a PDF that is not made as typst makes them."""
    if kind == "png":
        return len(made)
    found = _PAGES.search(made[0])
    if found is None:
        raise BrokenState(
            "the typeset file does not say how many pages it has. Install the version of typst that this "
            "version of Ratemill was made for."
        )
    return int(found["count"])


def _dated(invoice: Invoice) -> date:
    return invoice.issue_date or invoice.billing_date


def _logo(template: DocumentTemplate, of_seller: bytes) -> bytes:
    return of_seller if template.logo is None else template.logo.content()


def printed(invoice: Invoice, template: DocumentTemplate = PLAIN) -> dict[str, Any]:
    """Every text on the page, by its place in ``templates/invoice.typ``."""
    customer, seller = invoice.customer, invoice.seller or {}
    language = template.language or str(customer.get("language") or "en")
    w, texts, shown = words_of(language), template.texts_in(language), template.shown
    billed_to, sold_to = billed_party(customer), sold_to_party(customer)
    several = len(invoice.tax) > 1
    number = invoice.number or f"{invoice.invoice_id[:12]} ({w('no_number_yet')})"
    seller_name = str(seller.get("legal_name") or seller.get("name", ""))
    facts = _facts(invoice, template, w)
    digits = invoice.minor_digits
    return {
        "language": w.language,
        "accent": template.accent,
        "paper": template.paper,
        "shown": {"quantity": shown.quantity, "price": shown.price},
        "words": {name: w(name) for name in PAGE_WORDS},
        "title": _title(invoice, w),
        "number": number,
        "seller_name": seller_name,
        "seller_lines": party_lines(seller, w),
        "billed_to": w("billed_to"),
        "customer_name": party_name(billed_to),
        "customer_lines": party_lines(billed_to, w),
        "sold_to": w("sold_to"),
        "sold_to_lines": [] if sold_to is None else [party_name(sold_to), *party_lines(sold_to, w)],
        "facts": [{"label": label, "value": breakable(value)} for label, value in facts if value],
        "head": _text(texts.head, invoice, w),
        "amount_head": f"{w('amount')} {invoice.currency}",
        "lines": [
            printed_line(
                line,
                digits=digits,
                w=w,
                shown=shown,
                taxed=line_tax_words(line, several=several, digits=digits, w=w),
            )
            for line in invoice.lines
        ],
        "sums": _sums(invoice, w),
        "total_label": w("amount_due") if invoice.drawn_credit else w("total"),
        "total": f"{w.money(invoice.due_minor, digits)} {invoice.currency}",
        "tax_notes": tax_notes(invoice.tax, w),
        "notes_label": w("terms"),
        "notes": _terms(invoice, texts, w),
        "payment": _payment(invoice, w, shown_code=shown.payment_code),
        "foot": [part for part in (_text(texts.foot, invoice, w), terms_words(invoice, language)) if part],
        "footer": " · ".join(
            str(part) for part in (seller_name, seller.get("tax_id"), seller.get("registration_id")) if part
        ),
    }


def printed_pro_forma(preview: Invoice, template: DocumentTemplate = PLAIN) -> dict[str, Any]:
    """The texts of a preview: the title and the notes say what it is."""
    texts = printed(preview, template)
    w = words_of(texts["language"])
    return {**texts, "title": w("pro_forma"), "notes": [w("pro_forma_note"), *texts["notes"]]}


def _title(invoice: Invoice, w: Words) -> str:
    """A bill below zero is a credit note."""
    if invoice.gross_minor < 0:
        return w("credit_note") if invoice.number else w("draft_credit_note")
    return w("invoice") if invoice.number else w("draft_invoice")


def _sums(invoice: Invoice, w: Words) -> list[dict[str, str]]:
    """What stands above the amount due: the net total and each group of tax, then what credit pays
    or gets back."""
    digits = invoice.minor_digits
    rows = []
    if invoice.tax:
        rows.append({"label": w("net_total"), "value": w.money(invoice.total_minor, digits)})
        rows += [tax_row(group, digits, w) for group in invoice.tax]
    if not invoice.drawn_credit:
        return rows
    label = w("total") if invoice.tax else w("subtotal")
    rows.append({"label": label, "value": w.money(invoice.gross_minor, digits)})
    for entry in invoice.drawn_credit:
        left = w.money(entry.remaining_minor, digits)
        words = "credit_left" if entry.amount_minor >= 0 else "credit_given_back"
        label = w(words, name=breakable(entry.name), left=left)
        rows.append({"label": label, "value": w.money(-entry.amount_minor, digits)})
    return rows


def tax_row(group: InvoiceTax, digits: int, w: Words) -> dict[str, str]:
    """A group of tax among the sums: what it is counted on and what it comes to."""
    base = w.money(group.taxable_minor, digits)
    if group.rate_percent:
        label = w("tax_on", rate=w.number(group.rate_percent), base=base)
    else:
        label = w("no_tax_on", category=group.category, base=base)
    return {"label": label, "value": w.money(group.tax_minor, digits)}


def tax_notes(taxes: Sequence[InvoiceTax], w: Words) -> list[str]:
    """Why there is no tax, in the words of the law, or that none is stated."""
    if not taxes:
        return [w("amounts_exclude_tax")]
    return list(dict.fromkeys(group.reason for group in taxes if group.reason))


def _facts(invoice: Invoice, template: DocumentTemplate, w: Words) -> list[tuple[str, str]]:
    shown, terms, customer = template.shown, invoice.terms, invoice.customer
    reference = customer.get("buyer_reference") or terms.get("buyer_reference") or ""
    return [
        (w("issue_date"), w("not_issued") if invoice.issue_date is None else w.day(invoice.issue_date)),
        (w("due_date"), "" if invoice.due_date is None else w.day(invoice.due_date)),
        (w("period_of_service"), w.period(invoice.period_start, invoice.period_end)),
        (w("contract"), str(invoice.contract["contract_id"]) if shown.contract else ""),
        (w("customer"), str(customer["customer_id"])),
        (w("purchase_order"), str(terms.get("purchase_order", ""))),
        (w("buyer_reference"), str(reference)),
        (w("your_contact"), str(terms.get("owner", "")) if shown.contact else ""),
    ]


def _terms(invoice: Invoice, texts: TemplateTexts, w: Words) -> list[str]:
    """The three terms of payment, on every document: until when, how, and what lateness costs."""
    if invoice.gross_minor < 0:
        return [w("owed_to_you")]
    terms, seller = invoice.terms, invoice.seller or {}
    usual_due = w("payment_terms_by" if invoice.due_date else "payment_terms")
    usual_late = w("late_payment", words=seller.get("late_payment") or w("late_payment_usual"))
    late = texts.late_payment or usual_late
    if terms.get("late_payment"):  # agreed with this customer, so before any standard text
        late = w("late_payment", words=terms["late_payment"])
    return [
        _text(texts.payment_terms or usual_due, invoice, w),
        _text(texts.payment_methods or w("payment_methods"), invoice, w),
        _text(late, invoice, w),
    ]


def _text(text: str, invoice: Invoice, w: Words) -> str:
    """A standard text, word for word, its places filled in."""
    if "{" not in text:
        return text
    methods = [w.method(method) for method in invoice.terms.get("payment_methods") or ()]
    places = {
        "days": str(invoice.terms["payment_days"]),
        "due_date": "" if invoice.due_date is None else w.day(invoice.due_date),
        "methods": f" {w('or')} ".join(methods) or w("as_agreed"),
        "number": invoice.number or "",
        "customer": str(invoice.customer.get("legal_name") or invoice.customer["name"]),
    }
    return filled(text, places)


def _payment(invoice: Invoice, w: Words, *, shown_code: bool) -> dict[str, Any]:
    """The account, the reference a payer is to write, and the code that says both to a banking app."""
    payee = payee_of(invoice.seller or {})
    reference = creditor_reference(invoice.number) if invoice.number else ""
    rows = []
    if payee.account:
        account = _in_fours(payee.iban) if payee.iban else payee.account
        account = f"{account} (BIC {payee.bic})" if payee.bic else account
        of_holder = w("account_of", holder=payee.holder, account=account)
        rows.append(of_holder if payee.is_named else w("account", account=account))
    if reference and invoice.due_minor > 0:
        rows.append(w("reference", reference=_in_fours(reference)))
    code = payment_code_text(
        payee, amount_minor=invoice.due_minor, currency=invoice.currency, reference=reference
    )
    wanted = bool(code) and shown_code and invoice.number is not None
    return {"rows": rows, "code": payment_code_svg(code) if wanted else "", "caption": w("scan_to_pay")}


def _in_fours(text: str) -> str:
    return " ".join(text[place : place + 4] for place in range(0, len(text), 4))


def party_name(party: Mapping[str, Any]) -> str:
    """Its legal name, else its name."""
    return breakable(str(party.get("legal_name") or party.get("name") or ""), longest=_PARTY_WORD)


def party_lines(party: Mapping[str, Any], w: Words) -> list[str]:
    """Address, ways to reach it and the numbers it is registered under, a line each."""
    return [breakable(line, longest=_PARTY_WORD) for line in _party_texts(party, w) if line]


def _party_texts(party: Mapping[str, Any], w: Words) -> Iterator[str]:
    yield str(party.get("street") or "")
    yield from (str(line) for line in party.get("address_lines") or ())
    if "street_lines" not in party:  # else the address says it already
        yield " ".join(str(party.get(name) or "") for name in ("postal_code", "city")).strip()
    yield w.country(str(party.get("country") or ""))
    yield str(party.get("email") or "")
    yield str(party.get("phone") or "")
    for name, label in (("tax_id", "tax_id"), ("tax_number", "tax_id"), ("registration_id", "registration")):
        if party.get(name):
            yield w(label, number=party[name])
