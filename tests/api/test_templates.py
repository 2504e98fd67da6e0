"""Goal: templates by command and over HTTP, the same in both; a preview needs nothing saved."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from pypdf import PdfReader

from api.state import Ratemill
from tests.api.conftest import Run
from tests.invoicing.einvoice_case import priced, put_issued, taxed

TEMPLATE = 'template_id: northwind\naccent: "#0a7d5a"\nshown: {price: false}\ntexts: {en: {head: Welcome}}\n'


@pytest.mark.requirement("DEL-12")
def test_previewed_saved_chosen_and_printed(
    run: Run, http: httpx.Client, state: Ratemill, tmp_path: Path
) -> None:
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    assert "No templates yet" in run("template", "list").out
    assert run("template", "preview", "t.yaml", "--out", "t.pdf").status == 0
    shown = PdfReader(tmp_path / "t.pdf").pages[0].extract_text()
    assert "Welcome" in shown
    assert "PRICE" not in shown
    assert http.get("/v1/templates").json() == {"items": []}
    assert run("template", "save", "t.yaml").out.strip() == "northwind is at version 1 (saved)."
    assert "unchanged" in run("template", "save", "t.yaml").out
    assert "accent: '#0a7d5a'" in run("template", "show", "northwind").out
    chosen = run("template", "use", "northwind", "--for", "customer", "--id", "acme")
    assert chosen.status == 0
    later = state.clock.now().isoformat()
    issued = put_issued(state.ledger, taxed(priced("1", "1")), issued_at=later)
    used = http.get(f"/v1/invoices/{issued.number}/template").json()
    assert used == {"template_id": "northwind", "version": 1, "used_for": "customer"}
    for options in ((), ("--factur-x",)):
        assert run("invoice", "pdf", str(issued.number), "--out", "i.pdf", *options).status == 0
        assert "Welcome" in PdfReader(tmp_path / "i.pdf").pages[0].extract_text()
    assert run("template", "use", "none", "--for", "all").status == 1
    assert http.put("/v1/templates/x", json={"template_id": "x", "accent": "red"}).status_code == 422
