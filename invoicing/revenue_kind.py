"""By which kind a line is revenue where its own does not say it: what adjusts or corrects another line is
revenue when that line is.

A minimum of 15 January to 14 February is revenue of 14 February, and so is what adjusts it. Most lines adjust
and correct what is revenue over its days, as they are; only kinds that are revenue of one day take the place
of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from invoicing.bulk import select_by_ids
from invoicing.posting import DocumentLine
from invoicing.recognition import CORRECTION_KIND, ON_FIRST_DAY, ON_LAST_DAY
from invoicing.tables import LINE_ADJUSTMENTS
from rating.steps import ADJUSTMENT_KIND

_ON_ONE_DAY = ON_FIRST_DAY | ON_LAST_DAY


def adjusted_kinds(connection: Connection, lines: Iterable[DocumentLine]) -> dict[str, str]:
    """Of those of the lines that adjust a line which is revenue of one day, the kind of that, by line id."""
    wanted = [line.line_id for line in lines if line.charge_kind == ADJUSTMENT_KIND]
    if not wanted:
        return {}
    columns = LINE_ADJUSTMENTS.c
    kinds = select(columns.line_id, columns.charge_kind).where(columns.charge_kind.in_(_ON_ONE_DAY))
    return dict(select_by_ids(connection, kinds, columns.line_id, wanted))


def with_adjusted_kinds(lines: Sequence[DocumentLine], kinds: Mapping[str, str]) -> Sequence[DocumentLine]:
    """The lines, adjustments with the kind of what they adjust. kinds: of ``adjusted_kinds``."""
    if not kinds:
        return lines
    return [line._replace(charge_kind=kinds.get(line.line_id, line.charge_kind)) for line in lines]


def with_corrected_kinds(lines: Sequence[DocumentLine], beside: Sequence[DocumentLine]) -> list[DocumentLine]:
    """The lines, corrections with the kind of what they correct. beside: the lines of the invoice they are
    of; a correction has the charge and the period of the corrected one."""
    kinds = {
        (line.charge_id, line.period_start, line.period_end): line.charge_kind
        for line in beside
        if line.charge_kind in _ON_ONE_DAY
    }
    return [
        line._replace(
            charge_kind=kinds.get((line.charge_id, line.period_start, line.period_end), line.charge_kind)
        )
        if line.charge_kind == CORRECTION_KIND
        else line
        for line in lines
    ]
