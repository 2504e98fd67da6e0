"""Which plan version and agreement price which day, and whether they have anything to charge.

Versions never expire: the one with the latest ``effective_from`` that has come is in force, and of
several saved for the same date the one saved last. Contracts that take their plan as it is share the
*track* of the plan; those that agree something share one with all that agree the same from the same
days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rating.agreement import NO_AGREEMENT, AgreedSegment, Agreement, agreed_plan
from rating.plan_version import PlanVersion
from rating.price_plan import Charge, is_licence_in_advance
from rating.proration import METHODS, method_of

ARREARS: Final = "arrears"
ADVANCE: Final = "advance"
_NOTHING: Final = Agreement()
_FIRST_OF_DAYS: Final = int(np.iinfo(np.int64).min)
_OF_ARREARS: Final = ("minimum_spend", "maximum_spend", "group_minimums")
_TRACK_STRIDE: Final = 1 << 32
"""Wider than any day number, so that (track, day) sorts as one integer."""


@dataclass(frozen=True, slots=True)
class PlanSchedule:
    """One entry a (track, day it begins on), sorted so.

    plan_tracks: the track of each plan; contract_tracks: of each contract with segments. plan, agreement:
    numbers of ``plan_ids`` and ``agreements``. plan_begins: the day from which the track has been on that
    plan without a break when another came before, else the first of all days. same_arrears, same_advance:
    what the entry charges in arrears (in advance) is what the entry before does. proration: its place in
    ``METHODS``.
    """

    plan_tracks: Mapping[str, int]
    contract_tracks: Mapping[str, int]
    key: NDArray[np.int64]
    effective: NDArray[np.int64]
    plan: NDArray[np.int64]
    plan_ids: Sequence[str]
    version: NDArray[np.int64]
    agreement: NDArray[np.int64]
    agreements: Sequence[str]
    has_arrears: NDArray[np.bool_]
    has_advance: NDArray[np.bool_]
    plan_begins: NDArray[np.int64]
    same_arrears: NDArray[np.bool_]
    same_advance: NDArray[np.bool_]
    proration: NDArray[np.int64]

    @property
    def has_phases(self) -> bool:
        """Whether any track changes its plan."""
        return bool((self.plan_begins != _FIRST_OF_DAYS).any())

    def in_force(self, track: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entry in force for each track on each day; the caller knows that there is one."""
        found: NDArray[np.int64] = np.searchsorted(self.key, track * _TRACK_STRIDE + day, "right") - 1
        return found

    def track_of(self, entry: int) -> int:
        """The track an entry is on."""
        return int(self.key[entry] - self.effective[entry]) // _TRACK_STRIDE

    def charges(self, entry: NDArray[np.int64], *, arrears: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether the version can charge anything on a row of that timing."""
        found: NDArray[np.bool_] = np.where(arrears, self.has_arrears[entry], self.has_advance[entry])
        return found


@dataclass(frozen=True, slots=True)
class _Entry:
    day: date
    version: PlanVersion
    agreement: str


def compile_plan_schedule(
    versions: Sequence[PlanVersion],
    segments: Mapping[str, tuple[AgreedSegment, ...]],
    agreements_by_key: Mapping[str, Agreement],
) -> PlanSchedule:
    """Sort the versions of all plans by the day they take effect, for plans and for contracts.

    segments: by contract_id, of the contracts that agree something beyond their plan. agreements_by_key: all
    that they name.
    """
    latest = {}
    for version in sorted(versions, key=lambda version: version.version):
        latest[version.plan.plan_id, version.plan.effective_from] = version
    by_plan: dict[str, list[_Entry]] = {}
    for (plan_id, day), version in sorted(latest.items()):
        by_plan.setdefault(plan_id, []).append(_Entry(day, version, NO_AGREEMENT))
    plan_tracks = {plan_id: number for number, plan_id in enumerate(by_plan)}
    agreed = {whole: len(by_plan) + number for number, whole in enumerate(_distinct_tracks(segments))}
    tracks = [*by_plan.values(), *(_merged(whole, by_plan) for whole in agreed)]
    entries = [(number, entry) for number, track in enumerate(tracks) for entry in track]
    plan_ids = list(by_plan)
    agreements = sorted({entry.agreement for _, entry in entries} | {NO_AGREEMENT})
    effective = np.array([np.datetime64(entry.day, "D") for _, entry in entries], "datetime64[D]")
    days = effective.astype(np.int64)
    return PlanSchedule(
        plan_tracks=plan_tracks,
        contract_tracks={contract_id: agreed[whole] for contract_id, whole in segments.items()},
        key=np.array([number for number, _ in entries], np.int64) * _TRACK_STRIDE + days,
        effective=days,
        plan=np.array([plan_tracks[entry.version.plan.plan_id] for _, entry in entries], np.int64),
        plan_ids=plan_ids,
        version=np.array([entry.version.version for _, entry in entries], np.int64),
        agreement=np.array([agreements.index(entry.agreement) for _, entry in entries], np.int64),
        agreements=agreements,
        has_arrears=np.array([_has(entry, ARREARS, agreements_by_key) for _, entry in entries], np.bool_),
        has_advance=np.array([_has(entry, ADVANCE, agreements_by_key) for _, entry in entries], np.bool_),
        plan_begins=np.array([day for track in tracks for day in _plan_begins(track)], np.int64),
        same_arrears=np.array(list(_same(tracks, ARREARS, agreements_by_key)), np.bool_),
        proration=np.array([METHODS.index(method_of(entry.version.plan)) for _, entry in entries], np.int64),
        same_advance=np.array(list(_same(tracks, ADVANCE, agreements_by_key)), np.bool_),
    )


def _distinct_tracks(segments: Mapping[str, tuple[AgreedSegment, ...]]) -> list[tuple[AgreedSegment, ...]]:
    """Each distinct sequence of segments once, in an order that no dictionary decides."""

    def words(track: tuple[AgreedSegment, ...]) -> list[tuple[date, str, str]]:
        return [(part.effective_from, part.plan_id, part.agreement_key) for part in track]

    return sorted(set(segments.values()), key=words)


def _merged(track: Sequence[AgreedSegment], by_plan: Mapping[str, Sequence[_Entry]]) -> list[_Entry]:
    """The versions in force through each segment, the first from the segment's own day on."""
    entries: list[_Entry] = []
    for place, segment in enumerate(track):
        until = track[place + 1].effective_from if place + 1 < len(track) else date.max
        versions = by_plan.get(segment.plan_id, ())
        begun = [entry.version for entry in versions if entry.day <= segment.effective_from]
        entries += [_Entry(segment.effective_from, version, segment.agreement_key) for version in begun[-1:]]
        entries += [
            _Entry(entry.day, entry.version, segment.agreement_key)
            for entry in versions
            if segment.effective_from < entry.day < until
        ]
    return entries


def _plan_begins(track: Sequence[_Entry]) -> Iterator[int]:
    """For each entry of a track; see ``PlanSchedule``."""
    begins, plan_id = _FIRST_OF_DAYS, None
    for entry in track:
        if plan_id is not None and plan_id != entry.version.plan.plan_id:
            begins = int(np.datetime64(entry.day, "D").astype(np.int64))
        plan_id = entry.version.plan.plan_id
        yield begins


def _same(
    tracks: Iterable[Sequence[_Entry]], timing: str, agreements: Mapping[str, Agreement]
) -> Iterator[bool]:
    """For each entry: whether it differs from the one before only by fees of the other timing, added or of
    another quantity. A price or a discount that changes always counts; but a plan with licences in advance
    may change its prices in arrears without cutting the periods that these are billed for."""
    for track in tracks:
        yield False
        for before, entry in pairwise(track):
            if before.version is entry.version:
                yield _differs_elsewhere(before, entry, timing, agreements)
            else:
                yield timing == ADVANCE and _same_seats(before, entry, agreements)


def _same_seats(before: _Entry, entry: _Entry, agreements: Mapping[str, Agreement]) -> bool:
    """Whether another version of a plan with licences in advance charges the same in advance."""
    if (before.version.plan.plan_id, before.agreement) != (entry.version.plan.plan_id, entry.agreement):
        return False
    if not any(map(is_licence_in_advance, entry.version.plan.charges)):
        return False
    agreement = agreements.get(entry.agreement, _NOTHING)
    plans = [agreed_plan(each.version.plan, agreement) for each in (before, entry)]
    old, new = (
        plan.model_dump(exclude={"charges", "effective_from", "name", *_OF_ARREARS})
        | {"charges": [charge for charge in plan.charges if timing_of(charge) == ADVANCE]}
        for plan in plans
    )
    return old == new


def _differs_elsewhere(
    before: _Entry, entry: _Entry, timing: str, agreements: Mapping[str, Agreement]
) -> bool:
    one, other = (agreements.get(each.agreement, _NOTHING) for each in (before, entry))
    if not (one.additions or one.quantities or other.additions or other.quantities):
        return False
    nothing = {"additions": (), "quantities": ()}
    if one.model_copy(update=nothing) != other.model_copy(update=nothing):
        return False
    plan = entry.version.plan
    fees, new_fees = (
        [charge for charge in agreed_plan(plan, each).charges if timing_of(charge) == timing]
        for each in (one, other)
    )
    return fees == new_fees


def _has(entry: _Entry, timing: str, agreements: Mapping[str, Agreement]) -> bool:
    plan, agreement = entry.version.plan, agreements.get(entry.agreement, _NOTHING)
    limits = (plan.minimum_spend, agreement.limits.minimum_spend)
    if timing == ARREARS and (agreement.term_commitments or any(limit is not None for limit in limits)):
        return True
    if timing == ADVANCE and agreement.retainers:
        return True
    return any(timing in timings_of(charge) for charge in (*plan.charges, *agreement.additions))


def timings_of(charge: Charge) -> frozenset[str]:
    """The rows a charge needs: of a licence in advance also the one that ends its period, so that there is a
    date to put changes right on."""
    if is_licence_in_advance(charge):
        return frozenset({ADVANCE, ARREARS})
    return frozenset({timing_of(charge)})


def timing_of(charge: Charge) -> str:
    """When a charge is billed: what is counted, once its period is over, but for a licence in advance."""
    return charge.timing if charge.kind in {"recurring", "one_time", "licence"} else ARREARS
