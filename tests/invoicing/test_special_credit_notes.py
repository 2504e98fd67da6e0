"""Goal: special invoices are taken back by credit notes; a deposit is never both deducted and given back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import MIGRATIONS, migrate_ledger
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, StoredCreditNote, issue_credit_note
from invoicing.posting_store import PostedMissing, post_missing
from invoicing.special_invoice_store import SpecialFilter, get_special_invoice, list_special_invoices
from invoicing.standing_store import special_standing
from tests.invoicing.test_journal import without_journal
from tests.invoicing.test_special_invoices import LATER, balances, issue, proved, site
from tests.invoicing.world import World, at

DEPOSIT, FINAL = "DEP-2025-000001", "FIN-2025-000001"


def credit(world: World, number: str, **wanted: Any) -> StoredCreditNote:
    request = CreditNoteRequest.model_validate({"reason": "not ordered", "dated_on": LATER, **wanted})
    return issue_credit_note(world.ledger, number, request, Issuing("CN", "ada", None, at("2025-12-31")))[0]


def open_deposits(world: World) -> list[str]:
    chosen = SpecialFilter(contract_id="c1", open_deposits=True)
    return [one.number for one in list_special_invoices(world.ledger, chosen, limit=10)]


@pytest.mark.requirement("TAX-07")
@pytest.mark.requirement("TAX-08")
def test_a_deposit_is_voided_with_its_tax_and_is_no_liability_any_more(any_world: World) -> None:
    world = site(any_world)
    issue(world, "deposit", "1000.00", percent="30")
    note = credit(world, DEPOSIT).summary
    assert (note.number, note.net_minor, note.tax_minor, note.voids) == (
        "CN-2025-000001",
        -30000,
        -5700,
        True,
    )
    assert balances(world, LATER) == {}
    summary = get_special_invoice(world.ledger, DEPOSIT).summary
    assert (summary.open_minor, summary.credited_minor, summary.voided) == (0, 35700, True)
    assert open_deposits(world) == []
    final = issue(world, "final", "1000.00", on=LATER)
    assert (final.summary.net_minor, final.summary.tax_minor) == (100000, 19000)
    with pytest.raises(Conflict, match="credit notes left nothing of DEP-2025-000001") as caught:
        issue(world, "final", "1000.00", on=LATER, deducts=[DEPOSIT])
    assert caught.value.reason_code == "nothing_to_deduct"
    proved(world)


@pytest.mark.requirement("TAX-08")
def test_of_a_deposit_credited_in_part_the_final_invoice_deducts_the_rest(world: World) -> None:
    site(world)
    issue(world, "deposit", "1000.00", percent="30")
    credit(world, DEPOSIT, amount="100.00")
    assert balances(world, LATER) == {"receivable": 23800, "deferred": -20000, "tax": -3800}
    final = issue(world, "final", "1000.00", on=LATER)
    assert (final.summary.net_minor, final.summary.tax_minor) == (80000, 15200)
    assert final.invoice.lines[-1].amount_minor == -20000
    assert balances(world, LATER) == {"receivable": 119000, "revenue": -100000, "tax": -19000}
    proved(world)


@pytest.mark.requirement("TAX-07")
@pytest.mark.requirement("TAX-08")
def test_a_voided_final_invoice_leaves_its_deposit_open_to_be_deducted_again(any_world: World) -> None:
    world = site(any_world)
    issue(world, "deposit", "1000.00", percent="30")
    issue(world, "progress", "100.00", on="2025-03-01")
    issue(world, "final", "1000.00", on=LATER)
    standing = special_standing(world.ledger, get_special_invoice(world.ledger, DEPOSIT), now=at(LATER))
    assert (standing.state, standing.overdue, standing.actions) == ("issued", True, ("write_off", "print"))
    for number in (DEPOSIT, "PRO-2025-000001"):
        with pytest.raises(Conflict, match="Credit FIN-2025-000001 in full first") as caught:
            credit(world, number)
        assert caught.value.reason_code == "deducted_already"
    before_final = {"receivable": 47600, "deferred": -30000, "revenue": -10000, "tax": -7600}
    note = credit(world, FINAL).summary
    assert (note.net_minor, note.tax_minor, note.voids) == (-60000, -11400, True)
    assert balances(world, LATER) == before_final
    assert sorted(open_deposits(world)) == [DEPOSIT, "PRO-2025-000001"]
    assert get_special_invoice(world.ledger, DEPOSIT).summary.deducted_by is None
    again = issue(world, "final", "1000.00", on=LATER, now="2026-01-02")
    assert (again.summary.number, again.summary.net_minor) == ("FIN-2025-000002", 60000)
    assert get_special_invoice(world.ledger, DEPOSIT).summary.deducted_by == "FIN-2025-000002"
    credit(world, "FIN-2025-000002")
    credit(world, "PRO-2025-000001")
    credit(world, DEPOSIT)
    standing = special_standing(world.ledger, get_special_invoice(world.ledger, DEPOSIT), now=at(LATER))
    assert (standing.state, standing.open_minor, standing.actions) == ("void", 0, ("print",))
    assert balances(world, LATER) == {}
    proved(world)


@pytest.mark.requirement("TAX-07")
def test_of_a_final_invoice_a_part_never_touches_the_deduction(world: World) -> None:
    site(world)
    issue(world, "deposit", "1000.00", percent="30")
    final = issue(world, "final", "600.00", "400.00", on=LATER)
    plant, manual, deduction = (line.line_id for line in final.invoice.lines)
    with pytest.raises(InvalidInput, match="deducted whole or not at all") as caught:
        credit(world, FINAL, lines=[{"line_id": deduction}])
    assert caught.value.reason_code == "deduction_whole"
    with pytest.raises(InvalidInput, match=r"1000\.00 EUR, of the invoice 700\.00 EUR is left"):
        credit(world, FINAL, lines=[{"line_id": plant}, {"line_id": manual}])
    assert credit(world, FINAL, amount="100.00").summary.tax_minor == -1900
    assert credit(world, FINAL, lines=[{"line_id": manual, "amount": "60.00"}]).summary.net_minor == -6000
    assert balances(world, LATER) == {"receivable": 99960, "revenue": -84000, "tax": -15960}
    rest = credit(world, FINAL).summary
    assert (rest.net_minor, rest.tax_minor, rest.voids) == (-54000, -10260, True)
    assert balances(world, LATER) == {"receivable": 35700, "deferred": -30000, "tax": -5700}
    assert open_deposits(world) == [DEPOSIT]
    proved(world)


@pytest.mark.requirement("TAX-07")
def test_a_miscellaneous_invoice_is_credited_by_line_and_by_amount(world: World) -> None:
    site(world)
    made = issue(world, "miscellaneous", "25.00", "300.00", reason="lost badge")
    first = made.invoice.lines[0].line_id
    assert credit(world, made.summary.number, lines=[{"line_id": first}]).summary.net_minor == -2500
    assert credit(world, made.summary.document_id, amount="1.00").summary.tax_minor == -19
    assert credit(world, made.summary.number).summary.voids
    with pytest.raises(InvalidInput, match="credited in full already"):
        credit(world, made.summary.number)
    assert balances(world, LATER) == {}
    proved(world)


def test_a_final_invoice_with_two_rates_takes_all_of_its_tax_back(world: World) -> None:
    """16 % on the deposit of 2020, 19 % on the whole of 2021."""
    site(world)
    issue(world, "deposit", "1000.00", percent="30", on="2020-12-01")
    issue(world, "final", "1000.00", on="2021-02-01")
    part = credit(world, "FIN-2021-000001", amount="700.00", dated_on="2021-03-01").summary
    assert (part.net_minor, part.tax_minor) == (-70000, -13300)
    rest = credit(world, "FIN-2021-000001", dated_on="2021-03-01").summary
    assert (rest.net_minor, rest.tax_minor, rest.voids) == (0, 4800 - 5700, True)
    assert balances(world, "2021-03-31") == {"receivable": 34800, "deferred": -30000, "tax": -4800}
    proved(world)


@pytest.mark.requirement("PAY-09")
def test_the_books_are_the_same_posted_afterwards(any_world: World) -> None:
    """Special invoices and what takes them back, also those that come to nothing and only move deposits."""
    world = site(any_world)
    issue(world, "deposit", "100.00", percent="100")
    issue(world, "deposit", "80.00", percent="50", project="north")
    issue(world, "final", "100.00", on="2025-03-01")
    issue(world, "progress", "10.00", on="2025-03-02", project="north")
    credit(world, "DEP-2025-000002", amount="3.00", dated_on="2025-03-03")
    credit(world, FINAL, dated_on="2025-04-01")
    days = ("2025-02-28", "2025-03-01", "2025-03-31", "2025-04-01", LATER)
    wanted = [balances(world, day) for day in days]
    proved(world)
    without_journal(world.ledger)
    assert post_missing(world.ledger) == PostedMissing(6, 0)
    assert [balances(world, day) for day in days] == wanted
    assert post_missing(world.ledger) == PostedMissing(0, 0)
    proved(world)


def test_at_the_same_time_a_deposit_is_deducted_or_given_back_never_both(any_world: World) -> None:
    world = site(any_world)
    for place in range(4):
        project = f"p{place}"
        number = issue(world, "deposit", "100.00", percent="50", project=project).summary.number
        refused: list[str] = []
        wanted = partial(issue, world, "final", "100.00", on=LATER, project=project, deducts=[number])
        doers = [
            threading.Thread(target=_or_refused, args=(what, refused))
            for what in (wanted, partial(credit, world, number))
        ]
        for doer in doers:
            doer.start()
        for doer in doers:
            doer.join()
        summary = get_special_invoice(world.ledger, number).summary
        assert (summary.deducted_by is None) is summary.voided
        assert refused == ["nothing_to_deduct" if summary.voided else "deducted_already"]
    proved(world)


def _or_refused(what: Callable[[], object], refused: list[str]) -> None:
    try:
        what()
    except Conflict as error:
        refused.append(error.reason_code)


def test_deductions_on_record_stay_when_the_table_changes(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'old.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0212")
        connection.execute(sa.text("INSERT INTO deducted_documents VALUES ('deposit', 'final')"))
    migrate_ledger(engine)
    with engine.begin() as connection:
        found = connection.execute(sa.text("SELECT document_id, turn, final_id FROM deducted_documents"))
        assert [tuple(row) for row in found] == [("deposit", 1, "final")]
        with pytest.raises(DBAPIError, match="never changes"):
            connection.execute(sa.text("DELETE FROM deducted_documents"))
    engine.dispose()
