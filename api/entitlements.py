"""May this customer use n more? Answered from memory, right to the last event acknowledged, and kept.

What is read from the ledger (contracts, plans) is believed for CONTRACTS_SECONDS and forgotten at once when
this process saves a contract or plan; what was used is in ``LiveUsage``. A server counts the limits of all
contracts ahead (``keep_ready``), so that no question has to wait for a first count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final, TypeVar

from sqlalchemy import Engine

from ingest.clock import Clock, to_micros
from ingest.errors import BrokenState, InvalidInput
from ingest.event import TIME_MAX
from ingest.meter import Meter
from rating.agreement_dates import plan_on
from rating.catalogue import get_plan_in_force
from rating.contract import Contract
from rating.contract_period import entitlement_period, runs_on
from rating.contract_store import get_contract
from rating.entitlement import Entitlement, Standing, Verdict, best, judge, strictest, without_limit
from rating.entitlement_store import find_contracts, limited_contracts
from rollup.live_counter import LiveReading
from rollup.live_usage import LiveKey, LiveUsage
from rollup.period import find_time_zone

CONTRACTS_SECONDS: Final = 10
REMEMBERED_MAX: Final = 100_000
READY_FOR: Final = timedelta(minutes=1)
AHEAD: Final = timedelta(minutes=3)
"""Periods that begin within this time are counted ahead: longer than READY_FOR."""
_FAR: Final = to_micros(TIME_MAX)
_WIDE: Final = Context(prec=80)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Question:
    """One of subject, contract_id and customer_id. quantity: how much more; 0 asks where one stands."""

    meter_id: str
    quantity: Decimal
    subject: str | None = None
    contract_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A limit of a contract with its period and the figures it needs: used, and licences if it has any."""

    contract: Contract
    entitlement: Entitlement
    period: tuple[datetime, datetime | None]
    keys: tuple[LiveKey, ...]


class EntitlementDesk:
    """One a process. meters: gives the meters on record now."""

    def __init__(
        self, ledger: Engine, clock: Clock, live: LiveUsage, meters: Callable[[], tuple[Meter, ...]]
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._live = live
        self._meters = meters
        self._lock = threading.Lock()
        self._remembered: dict[Hashable, tuple[Any, datetime]] = {}
        self._ready_until: datetime | None = None

    def answer(self, question: Question, *, at: datetime) -> tuple[Verdict, int]:
        """The verdict at an instant, and the number of the last event or correction that is in it.

        Who is not on record is not allowed anything. Raises InvalidInput for a question that names none or
        several of subject, contract and customer, or a negative quantity; StoreUnavailable where another
        process takes events in.
        """
        _check(question)
        named = (question.subject, question.contract_id, question.customer_id)
        contracts = self._remember(
            ("contracts", *named),
            lambda: find_contracts(
                self._ledger, subject=named[0], contract_id=named[1], customer_id=named[2]
            ),
        )
        wanted = [(contract, self._wanted(contract, question.meter_id, at)) for contract in contracts]
        keys = [key for _, limits in wanted for one in limits for key in one.keys]
        readings, sequence = self._live.read(keys, at_micros=to_micros(at))
        figures = dict(zip(keys, readings, strict=True))
        verdicts = []
        for contract, limits in wanted:
            if limits:
                verdicts.append(judge([_standing(one, figures) for one in limits], question.quantity))
            else:
                verdicts.append(self._unlimited(contract, question.meter_id, at))
        return (best if question.customer_id is not None else strictest)(verdicts), sequence

    def standings(self, contract_id: str, *, at: datetime) -> tuple[list[Standing], int]:
        """Every limit of a contract with what stands against it, in its order, and the number of the last
        event or correction that is in the figures. No limits while the contract does not run. Raises
        NotFound."""
        contract = get_contract(self._ledger, contract_id)
        meter_ids = dict.fromkeys(one.meter_id for one in contract.entitlements)
        wanted = [one for meter_id in meter_ids for one in self._wanted(contract, meter_id, at)]
        keys = [key for one in wanted for key in one.keys]
        readings, sequence = self._live.read(keys, at_micros=to_micros(at))
        figures = dict(zip(keys, readings, strict=True))
        return [_standing(one, figures) for one in wanted], sequence

    def levels(
        self, contract: Contract, meters: Sequence[Meter], *, at: datetime
    ) -> tuple[list[LiveReading], int]:
        """The level of each ``time_weighted`` meter over the contract's subjects at an instant, and the
        number of the last event or correction that is in them."""
        keys = [LiveKey(meter, contract.subjects, 0, _FAR) for meter in meters]
        return self._live.read(keys, at_micros=to_micros(at))

    def last_sequence(self, *, at: datetime) -> int:
        """The number of the last event or correction acknowledged. Raises StoreUnavailable."""
        return self._live.read([], at_micros=to_micros(at))[1]

    def keep_ready(self) -> int:
        """Count ahead what the limits of all running contracts need, now and in the periods that begin next;
        returns how many figures that are, 0 also when it was done within READY_FOR and no contract was saved
        since. Ended periods are forgotten."""
        now = self._clock.now()
        with self._lock:
            if self._ready_until is not None and now < self._ready_until:
                return 0
            self._ready_until = now + READY_FOR
        contracts = limited_contracts(self._ledger)
        keys = {
            key
            for contract in contracts
            for at in (now, now + AHEAD)
            for meter_id in {one.meter_id for one in contract.entitlements}
            for one in self._wanted(contract, meter_id, at)
            for key in one.keys
        }
        self._live.drop_ended(now_micros=to_micros(now))
        self._live.keep_countable(
            sorted(keys, key=lambda key: (key.meter.meter_id, key.subjects, key.start_micros))
        )
        return len(keys)

    def forget(self) -> None:
        """Read contracts and plans again; called when one is saved."""
        with self._lock:
            self._remembered = {}
            self._ready_until = None

    def _wanted(self, contract: Contract, meter_id: str, at: datetime) -> list[_Wanted]:
        """The limits a contract has on a meter; none when it does not run at that time."""
        today = at.astimezone(find_time_zone(contract.time_zone)).date()
        if not runs_on(contract, today):
            return []
        meters = {meter.meter_id: meter for meter in self._meters()}
        wanted = []
        for one in contract.entitlements:
            if one.meter_id == meter_id:
                start, end = entitlement_period(contract, one.period, on=today)
                keys = [_key(_meter(meters, meter_id), contract, start, end)]
                if one.provisioned_meter_id is not None:
                    keys.append(_key(_meter(meters, one.provisioned_meter_id), contract, start, end))
                wanted.append(_Wanted(contract, one, (start, end), tuple(keys)))
        return wanted

    def _unlimited(self, contract: Contract, meter_id: str, at: datetime) -> Verdict:
        today = at.astimezone(find_time_zone(contract.time_zone)).date()
        if not runs_on(contract, today):
            return without_limit("contract_not_running", contract.contract_id)
        plan_id = plan_on(contract, today)
        plan = self._remember(
            ("plan", plan_id, today),
            lambda: get_plan_in_force(self._ledger, plan_id, on=today).plan,
        )
        priced = any(meter_id in charge.meter_ids() for charge in plan.charges)
        return without_limit("not_limited" if priced else "not_in_contract", contract.contract_id)

    def _remember(self, name: Hashable, read: Callable[[], Answer]) -> Answer:
        now = self._clock.now()
        with self._lock:
            known = self._remembered.get(name)
            if known is not None and now < known[1]:
                answer: Answer = known[0]
                return answer
            remembered = self._remembered
        found = read()
        with self._lock:
            # Forgotten while it was read: it may be what stood before.
            if remembered is self._remembered:
                if len(self._remembered) >= REMEMBERED_MAX:
                    self._remembered = {}
                self._remembered[name] = (found, now + timedelta(seconds=CONTRACTS_SECONDS))
        return found


def _check(question: Question) -> None:
    named = [question.subject, question.contract_id, question.customer_id]
    if sum(one is not None for one in named) != 1:
        raise InvalidInput(
            "a question is about one of `subject`, `contract_id` and `customer_id`; give exactly one.",
            reason_code="entitlement_of_whom",
        )
    if question.quantity < 0:
        raise InvalidInput(
            f"the quantity {question.quantity} is below zero; ask for 0 or more.",
            reason_code="negative_quantity",
        )


def _meter(meters: dict[str, Meter], meter_id: str) -> Meter:
    meter = meters.get(meter_id)
    if meter is None:
        raise BrokenState(
            f"a contract limits meter {meter_id!r}, which is not on record; restore the ledger."
        )
    return meter


def _key(meter: Meter, contract: Contract, start: datetime, end: datetime | None) -> LiveKey:
    # A level is carried in from before every period.
    if meter.aggregation == "time_weighted":
        return LiveKey(meter, contract.subjects, 0, _FAR)
    return LiveKey(meter, contract.subjects, to_micros(start), _FAR if end is None else to_micros(end))


def _standing(one: _Wanted, figures: dict[LiveKey, Any]) -> Standing:
    entitlement, used = one.entitlement, figures[one.keys[0]]
    unusable = used.unusable_events
    if entitlement.limit is not None:
        limit = entitlement.limit
    else:
        licences = figures[one.keys[1]]
        limit = _WIDE.multiply(licences.quantity, entitlement.per_provisioned)
        unusable += licences.unusable_events
    return Standing(
        contract_id=one.contract.contract_id,
        meter_id=entitlement.meter_id,
        period=entitlement.period,
        period_start=one.period[0],
        period_end=one.period[1],
        mode=entitlement.mode,
        limit=limit,
        used=used.quantity,
        event_count=used.event_count,
        unusable_events=unusable,
    )
