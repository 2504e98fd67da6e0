"""Goal: whatever senders do - late, repeated, reordered, conflicting, broken records, in any format,
amended and cancelled again and again - the answers, the usage and the invoices are those of an auditor
made of dictionaries.

A failure names its seed; ``RATEMILL_SIMULATION_SEEDS=7,8`` runs those, ``=1000`` the first thousand.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.correct import correct_events
from ingest.load import IngestContext, ingest_batch, open_ingest
from ingest.meter import Meter, MeterFilter
from ingest.meter_store import save_meter
from ingest.settings import IngestSettings
from invoicing.billing_run import BillingSettings, run_billing
from invoicing.customer_store import save_customer
from rating.catalogue import save_price_plan
from rating.contract_store import save_contracts
from tests.simulation.auditor import BAD_VALUE, Auditor, Fix, Sent, month_start
from tests.simulation.wire import encode, encode_fixes

MONTHS = ("2025-01", "2025-02", "2025-03")
BILLED_ON = {"2025-01": date(2025, 2, 1), "2025-02": date(2025, 3, 1), "2025-03": date(2025, 4, 1)}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland")
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
METERS = (
    Meter(
        meter_id="eu_calls",
        event_type="call",
        aggregation="sum",
        filters=(MeterFilter(property="region", values=("eu",)),),
    ),
    Meter(meter_id="events", event_type="call", aggregation="count"),
)
PLAN = {
    "plan_id": "metered",
    "name": "Metered",
    "currency": "EUR",
    "effective_from": date(2024, 1, 1),
    "charges": [
        {
            "charge_id": "eu_calls",
            "name": "Calls in Europe",
            "kind": "usage",
            "meter_id": "eu_calls",
            "price": {
                "model": "graduated",
                "tiers": [
                    {"up_to": "100", "unit_price": "0.25"},
                    {"up_to": "1000", "unit_price": "0.125"},
                    {"unit_price": "0.0625"},
                ],
            },
        },
        {
            "charge_id": "events",
            "name": "Calls",
            "kind": "usage",
            "meter_id": "events",
            "price": {"model": "per_unit", "unit_price": "0.015"},
        },
    ],
}


def _seeds() -> list[int]:
    wanted = os.environ.get("RATEMILL_SIMULATION_SEEDS", "24")
    return [int(seed) for seed in wanted.split(",")] if "," in wanted else list(range(int(wanted)))


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("seed", _seeds())
def test_answers_usage_and_invoices_equal_the_auditors(
    seed: int, event_store: EventStore, ledger: Engine
) -> None:
    random = Random(seed)
    auditor = Auditor({f"s{number}": ZoneInfo(random.choice(ZONES)) for number in range(4)})
    _save_documents(ledger, auditor)
    ingest = _open(event_store)
    sent: list[Sent] = []
    for month in MONTHS:
        stream = _stream(random, auditor, month, earlier=sent)
        fixes = _fixes(random, auditor, month, stream)
        sent += stream
        for batch in _batches(random, stream):
            if random.random() < 0.1:
                ingest = _open(event_store)  # as after a restart: the gate is read from the store
            _send(batch, auditor, ingest, random, seed)
            if pending := _some(fixes, random):
                _send_fixes(pending, auditor, ingest, random, seed)
        _send_fixes(fixes, auditor, ingest, random, seed)
        _bill(event_store, ledger, month)
        billed = MONTHS[: MONTHS.index(month) + 1]
        assert _stored_usage(event_store, auditor) == _audited_usage(auditor, billed), f"seed {seed}"
        assert _stored_invoices(ledger) == auditor.invoices(months=billed), f"seed {seed}"


def _stream(random: Random, auditor: Auditor, month: str, *, earlier: list[Sent]) -> list[Sent]:
    """A month's records out of order, with resends of this month's and earlier months' records,
    conflicting resends, records for nobody, and bad ones.

    A changed record may come ahead of its original; then it is the one in force. Those of earlier
    months cannot: their originals were sent before, so no month changes after it was billed."""
    stream = [_event(random, auditor, month, number) for number in range(random.randint(20, 120))]
    pool = [record for record in earlier if record.value != BAD_VALUE] + stream
    extra = [random.choice(pool) for _ in range(random.randint(0, 30))]
    extra += [_changed(record, value="77777.5") for record in random.choices(pool, k=random.randint(0, 8))]
    extra += [
        _changed(record, id=f"{record.id}-bad", value=BAD_VALUE)
        for record in random.choices(stream, k=random.randint(0, 4))
    ]
    stream += extra
    random.shuffle(stream)
    return stream


def _fixes(random: Random, auditor: Auditor, month: str, stream: list[Sent]) -> list[Fix]:
    """Corrections of this month's events, each into this month again: amended and cancelled, some again
    and again, resent and changed; of what nobody sent, of corrections, under an event's own id, and bad."""
    made: list[Fix] = []
    own = [record for record in stream if record.id.startswith(month)]
    chosen = random.choices(own, k=random.randint(0, 25))
    for number, record in enumerate([*chosen, *random.choices(chosen or own, k=5)]):
        other = _event(random, auditor, month, 0, subject=record.subject)
        fix = Fix(record.source, f"fix-{month}-{number}", record.id, random.choice(["typo", "é"]))
        if random.random() < 0.7:
            changes: dict[str, Any] = {
                "time": other.time,
                "value": other.value,
                "properties": other.properties,
            }
            names = random.sample(sorted(changes), random.randint(1, 3))
            fix = replace(fix, **{name: changes[name] for name in names})
        made.append(fix)
    for fix in random.choices(made, k=6):
        made += random.choice(
            [
                [fix],
                [replace(fix, reason="another")],
                [replace(fix, id=f"{fix.id}-x", corrects="nobody")],
                [replace(fix, id=f"{fix.id}-y", corrects=random.choice(made).id)],
                [replace(fix, id=fix.corrects)],
                [replace(fix, id=f"{fix.id}-z", value=BAD_VALUE)],
            ]
        )
    random.shuffle(made)
    return made


def _some(fixes: list[Fix], random: Random) -> list[Fix]:
    """Take a few corrections off the list; those that come before their event are sent again later."""
    taken = [fixes.pop() for _ in range(min(len(fixes), random.choice([0, 0, 0, 0, 1, 12])))]
    fixes[:0] = random.sample(taken, len(taken) // 2)
    return taken


def _event(random: Random, auditor: Auditor, month: str, number: int, *, subject: str | None = None) -> Sent:
    subject = subject or random.choice([*auditor.zones, "nobody"])
    zone = auditor.zones.get(subject, ZoneInfo("UTC"))
    start = month_start(month, zone)
    following = MONTHS.index(month) + 1
    end = month_start((*MONTHS, "2025-04")[following], zone)
    span = (end - start) // timedelta(microseconds=1)
    # The edges of the month are where mistakes live.
    offset = random.choice([0, 1, span - 1, random.randrange(span), random.randrange(span)])
    digits = random.randint(0, 12)
    whole = random.choice([0, 1, 99, 100, 250, 1000, random.randrange(10**6)])
    value = f"{whole}" if digits == 0 else f"{whole}.{random.randrange(10**digits):0{digits}d}"
    properties = random.choice(
        [(), (("region", "eu"),), (("region", "eu"),), (("region", "us"), ("tier", "é"))]
    )
    return Sent(
        source=random.choice(["a", "b"]),
        id=f"{month}-{number}",
        type=random.choice(["call", "call", "call", "other"]),
        subject=subject,
        time=start + timedelta(microseconds=offset),
        value=value,
        properties=properties,
    )


def _changed(record: Sent, **changes: Any) -> Sent:
    fields = {name: getattr(record, name) for name in Sent.__slots__}
    return Sent(**{**fields, **changes})


def _batches(random: Random, stream: list[Sent]) -> list[list[Sent]]:
    batches, start = [], 0
    while start < len(stream):
        size = random.choice([1, 3, 17, 60])
        batches.append(stream[start : start + size])
        start += size
    if random.random() < 0.5:
        batches.append(random.choice(batches))  # a client that did not hear the answer
    return batches


def _send(batch: list[Sent], auditor: Auditor, ingest: IngestContext, random: Random, seed: int) -> None:
    body, content_type, encoding = encode(batch, random)
    report = ingest_batch(
        body, content_type=content_type, content_encoding=encoding, received_at=LONG_AGO, ingest=ingest
    )
    outcomes = [auditor.outcome(record) for record in batch]
    wanted = {name: outcomes.count(name) for name in ("accepted", "duplicates", "conflicts", "rejected")}
    found = {name: getattr(report, name) for name in wanted}
    assert found == wanted, f"seed {seed}, {content_type}: {report.refusals[:3]}"


def _send_fixes(batch: list[Fix], auditor: Auditor, ingest: IngestContext, random: Random, seed: int) -> None:
    if not batch:
        return
    body, content_type, encoding = encode_fixes(batch, random)
    report = correct_events(
        body, content_type=content_type, content_encoding=encoding, received_at=LONG_AGO, ingest=ingest
    )
    outcomes = [auditor.correct(fix) for fix in batch]
    wanted = {name: outcomes.count(name) for name in ("accepted", "duplicates", "conflicts", "rejected")}
    found = {name: getattr(report, name) for name in wanted}
    assert found == wanted, f"seed {seed}, corrections: {report.refusals[:3]}"


def _save_documents(ledger: Engine, auditor: Auditor) -> None:
    for meter in METERS:
        save_meter(ledger, meter, now=LONG_AGO)
    save_price_plan(ledger, PLAN, now=LONG_AGO)
    save_customer(ledger, {"customer_id": "acme", "name": "Acme"}, now=LONG_AGO)
    contracts = [
        {
            "contract_id": f"contract-{subject}",
            "customer_id": "acme",
            "plan_id": "metered",
            "subjects": [subject],
            "start_date": date(2025, 1, 1),
            "time_zone": zone.key,
        }
        for subject, zone in auditor.zones.items()
    ]
    save_contracts(ledger, contracts, now=LONG_AGO)


def _open(event_store: EventStore) -> IngestContext:
    return open_ingest(event_store, meters=lambda: METERS, settings=IngestSettings())


def _bill(event_store: EventStore, ledger: Engine, month: str) -> None:
    as_of = BILLED_ON[month]
    report = run_billing(
        run_id=None,
        as_of=as_of,
        event_store=event_store,
        ledger=ledger,
        now=datetime(as_of.year, as_of.month, as_of.day, 23, tzinfo=UTC),
        settings=BillingSettings(),
        progress=lambda *_step: None,
    )
    assert not report.held


def _stored_usage(
    event_store: EventStore, auditor: Auditor
) -> dict[tuple[str, str, str], tuple[Fraction, int]]:
    rows = event_store.query(
        "SELECT contract_id, toString(meter_id) AS meter_id, period_start, quantity, event_count "
        "FROM rated_lines FINAL"
    ).to_pylist()
    usage = {}
    for row in rows:
        subject = row["contract_id"].removeprefix("contract-")
        month = row["period_start"].astimezone(auditor.zones[subject]).strftime("%Y-%m")
        usage[subject, row["meter_id"], month] = (Fraction(row["quantity"]), row["event_count"])
    assert len(usage) == len(rows)
    return usage


def _audited_usage(
    auditor: Auditor, months: tuple[str, ...]
) -> dict[tuple[str, str, str], tuple[Fraction, int]]:
    return {key: value for key, value in auditor.usage().items() if key[2] in months}


def _stored_invoices(ledger: Engine) -> dict[tuple[str, str], int]:
    months = {day.isoformat(): month for month, day in BILLED_ON.items()}
    with ledger.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT contract_id, billing_date, total_minor FROM invoices WHERE state = 'issued'")
        ).all()
    return {(row[0].removeprefix("contract-"), months[row[1]]): row[2] for row in rows}
