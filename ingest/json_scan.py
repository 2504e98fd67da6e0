"""Finds the fields of JSON event records in bulk, without building a single Python object.

The scanner accepts only what it fully recognises: one flat object with the fields of an event, each
at most once, texts without escapes, properties that are texts, numbers or booleans. It says so per
record; every other record goes to ``ingest/json_slow.py``, which reads all of JSON and words the
refusals. All of it stands in one file because numba's cache on disk does not notice when a
function of another file changes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.arrow_buffers import Bytes, Flags, Integers
from ingest.byte_words import bytes_below, copy_bytes, first_byte, load_word, repeated, zero_bytes
from ingest.compiled import compiled

SOURCE, ID, TYPE, SUBJECT, TIME, VALUE, PROPERTIES = range(7)
FIELD_COUNT: Final = 7
ABSENT: Final = -1
NULL: Final = -2

RECOGNISED: Final = 0
UNRECOGNISED: Final = 1
BLANK: Final = 2
Kinds = npt.NDArray[np.uint8]


def _name(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_SOURCE: Final = _name("source")
_ID: Final = _name("id")
_TYPE: Final = _name("type")
_SUBJECT: Final = _name("subject")
_TIME: Final = _name("time")
_VALUE: Final = _name("value")
_PROPERTIES: Final = _name("properties")
_TRUE: Final = _name("true")
_FALSE: Final = _name("false")
_NULL: Final = _name("null")
_QUOTE: Final = 34
_ESCAPE: Final = 92
_LINE_END: Final = 10
_COLON: Final = 58
_COMMA: Final = 44
_OPEN: Final = 123
_CLOSE: Final = 125


@compiled
def scan_records(
    body: Bytes,
    starts: Integers,
    ends: Integers,
    allowed: Flags,
    spans: Integers,
    property_counts: Integers,
    property_spans: Integers,
    kinds: Kinds,
) -> int:
    """Scan records body[starts[row]:ends[row]]; returns the number of properties found in all.

    spans: int64 (rows, 7, 2), start and size of each field's text; start is ABSENT or NULL
    without one.
    property_counts: int64 (rows). property_spans: int64 (as many as can be, 4): start and size of
    name and value, in row order and sorted by name in a row.
    kinds: RECOGNISED, UNRECOGNISED or BLANK (white space only). Records that are not ``allowed``
    are not looked into; the others must be valid UTF-8.
    """
    count = 0
    for row in range(len(starts)):
        at = _skip_space(body, starts[row], ends[row])
        property_counts[row] = 0
        if at == ends[row]:
            kinds[row] = BLANK
            continue
        after = -1
        if allowed[row]:
            after = _scan_object(body, at, ends[row], spans[row], property_spans, count)
        kinds[row] = UNRECOGNISED if after < 0 else RECOGNISED
        if after >= 0:
            property_counts[row] = after - count
            count = after
    return count


@compiled
def _skip_space(body: Bytes, at: int, end: int) -> int:
    while at < end and (body[at] == 32 or body[at] == 10 or body[at] == 13 or body[at] == 9):
        at += 1
    return at


@compiled
def scan_string(body: Bytes, at: int, end: int) -> int:
    """From after the opening quote to the closing one; -1 for an escape, a control or no end."""
    quotes, escapes = repeated(_QUOTE), repeated(_ESCAPE)
    while at + 8 <= end:
        word = load_word(body, at)
        marks = zero_bytes(word ^ quotes) | zero_bytes(word ^ escapes) | bytes_below(word, 32)
        if marks != 0:
            at += first_byte(marks)
            return at if body[at] == _QUOTE else -1
        at += 8
    while at < end:
        byte = body[at]
        if byte == _QUOTE:
            return at
        if byte == _ESCAPE or byte < 32:
            return -1
        at += 1
    return -1


@compiled
def _digits_end(body: Bytes, at: int, end: int) -> int:
    while at < end and 48 <= body[at] <= 57:
        at += 1
    return at


@compiled
def _number_end(body: Bytes, at: int, end: int) -> int:
    # The end of a JSON number that starts here; -1 if none does.
    if at < end and body[at] == 45:
        at += 1
    first = at
    at = _digits_end(body, at, end)
    if at == first or (body[first] == 48 and at > first + 1):
        return -1
    if at < end and body[at] == 46:
        first = at + 1
        at = _digits_end(body, first, end)
        if at == first:
            return -1
    if at < end and (body[at] == 101 or body[at] == 69):
        at += 1
        if at < end and (body[at] == 43 or body[at] == 45):
            at += 1
        first = at
        at = _digits_end(body, first, end)
        if at == first:
            return -1
    return at


@compiled
def _matches(body: Bytes, at: int, end: int, name: Bytes) -> bool:
    if end - at < len(name):
        return False
    for position in range(len(name)):  # noqa: SIM110 - compiled
        if body[at + position] != name[position]:
            return False
    return True


@compiled
def _field(body: Bytes, at: int, size: int) -> int:
    end = at + size
    if size == 2:
        return ID if _matches(body, at, end, _ID) else -1
    if size == 4:
        if _matches(body, at, end, _TYPE):
            return TYPE
        return TIME if _matches(body, at, end, _TIME) else -1
    if size == 5:
        return VALUE if _matches(body, at, end, _VALUE) else -1
    if size == 6:
        return SOURCE if _matches(body, at, end, _SOURCE) else -1
    if size == 7:
        return SUBJECT if _matches(body, at, end, _SUBJECT) else -1
    return PROPERTIES if size == 10 and _matches(body, at, end, _PROPERTIES) else -1


@compiled
def _scan_name(body: Bytes, at: int, end: int) -> tuple[int, int, int]:
    # A quoted name and its colon: (start, size, where the value starts); the last is -1 if not.
    if at >= end or body[at] != _QUOTE:
        return 0, 0, -1
    close = scan_string(body, at + 1, end)
    if close < 0:
        return 0, 0, -1
    colon = _skip_space(body, close + 1, end)
    if colon >= end or body[colon] != _COLON:
        return 0, 0, -1
    return at + 1, close - at - 1, _skip_space(body, colon + 1, end)


@compiled
def _scan_scalar(body: Bytes, at: int, end: int, words: bool) -> tuple[int, int, int]:
    # A text, a number, and with ``words`` true or false: (start, size, what follows); -1 if not.
    if at >= end:
        return 0, 0, -1
    if body[at] == _QUOTE:
        close = scan_string(body, at + 1, end)
        return at + 1, close - at - 1, close + 1 if close >= 0 else -1
    if words and _matches(body, at, end, _TRUE):
        return at, 4, at + 4
    if words and _matches(body, at, end, _FALSE):
        return at, 5, at + 5
    after = _number_end(body, at, end)
    return at, after - at, after


@compiled
def _next_entry(body: Bytes, at: int, end: int) -> tuple[int, bool]:
    # After a value: (where the next name starts, False), or (after the brace, True); -1 if neither.
    at = _skip_space(body, at, end)
    if at >= end:
        return -1, False
    if body[at] == _CLOSE:
        return at + 1, True
    if body[at] != _COMMA:
        return -1, False
    return _skip_space(body, at + 1, end), False


@compiled
def _scan_object(
    body: Bytes, at: int, end: int, spans: Integers, property_spans: Integers, count: int
) -> int:
    # Returns the number of properties so far, or -1 when the record is not recognised.
    for field in range(FIELD_COUNT):
        spans[field, 0] = ABSENT
        spans[field, 1] = 0
    if body[at] != _OPEN:
        return -1
    at = _skip_space(body, at + 1, end)
    closed = False
    while not closed:
        start, size, at = _scan_name(body, at, end)
        if at < 0:
            return -1
        field = _field(body, start, size)
        if field < 0 or spans[field, 0] != ABSENT:
            return -1
        if field == PROPERTIES:
            spans[field, 0] = at
            at, count = _scan_properties(body, at, end, property_spans, count)
        elif field == VALUE and _matches(body, at, end, _NULL):
            spans[field, 0] = NULL
            at += 4
        else:
            if field != VALUE and (at >= end or body[at] != _QUOTE):
                return -1
            spans[field, 0], spans[field, 1], at = _scan_scalar(body, at, end, False)
        if at < 0:
            return -1
        at, closed = _next_entry(body, at, end)
        if at < 0:
            return -1
    if _skip_space(body, at, end) != end:
        return -1
    return count


@compiled
def _scan_properties(body: Bytes, at: int, end: int, property_spans: Integers, count: int) -> tuple[int, int]:
    # Returns (what follows the object, the number of properties so far); -1 if not recognised.
    if at >= end or body[at] != _OPEN:
        return -1, count
    first = count
    at = _skip_space(body, at + 1, end)
    if at < end and body[at] == _CLOSE:
        return at + 1, count
    closed = False
    while not closed:
        name_start, name_size, at = _scan_name(body, at, end)
        if at < 0:
            return -1, first
        start, size, at = _scan_scalar(body, at, end, True)
        if at < 0 or not _insert_sorted(body, property_spans, first, count, name_start, name_size):
            return -1, first
        place = count
        while property_spans[place, 0] != name_start:
            place -= 1
        property_spans[place, 2], property_spans[place, 3] = start, size
        count += 1
        at, closed = _next_entry(body, at, end)
        if at < 0:
            return -1, first
    return at, count


@compiled
def _insert_sorted(
    body: Bytes, property_spans: Integers, first: int, count: int, start: int, size: int
) -> bool:
    # Put a name among the sorted ones of its record; False when it is there already.
    place = count
    while place > first:
        order = _compare(body, start, size, property_spans[place - 1, 0], property_spans[place - 1, 1])
        if order == 0:
            return False
        if order > 0:
            break
        property_spans[place] = property_spans[place - 1]
        place -= 1
    property_spans[place, 0], property_spans[place, 1] = start, size
    return True


@compiled
def _compare(body: Bytes, left: int, left_size: int, right: int, right_size: int) -> np.int64:
    for position in range(min(left_size, right_size)):
        difference = np.int64(body[left + position]) - np.int64(body[right + position])
        if difference != 0:
            return difference
    return np.int64(left_size - right_size)


@compiled
def split_array(body: Bytes, at: int, starts: Integers, ends: Integers) -> tuple[int, int]:
    """The elements of a JSON array that starts at ``at``: (how many, the position after it).

    Only brackets, quotes and commas are looked at; the elements are judged on their own. -1
    elements when the array never ends or an element is empty; ``starts`` and ``ends`` int64, with
    room for one more element than there are commas.
    """
    count, depth, position = 0, 0, at
    start = at + 1
    while position < len(body):
        byte = body[position]
        if byte == _QUOTE:
            position += 1
            while position < len(body) and body[position] != _QUOTE:
                position += 2 if body[position] == 92 else 1
        elif byte in (91, _OPEN):
            depth += 1
        elif byte in (93, _CLOSE):
            depth -= 1
        if depth == 0 or (depth == 1 and byte == _COMMA):
            first = _skip_space(body, start, position)
            if first == position and (count > 0 or depth == 1):
                return -1, position
            if first < position:
                starts[count], ends[count] = first, position
                count += 1
            start = position + 1
            if depth == 0:
                return count, position + 1
        position += 1
    return -1, position


@compiled
def copy_spans(
    body: Bytes, starts: Integers, sizes: Integers, offsets: npt.NDArray[np.int32], data: Bytes
) -> None:
    """Gather body[starts:starts+sizes] into one buffer; ``offsets`` are its row boundaries."""
    for row in range(len(starts)):
        copy_bytes(data, offsets[row], body, starts[row], sizes[row])


@compiled
def count_lines(body: Bytes) -> int:
    """How many line ends the body has."""
    count = 0
    for at in range(len(body)):
        count += body[at] == _LINE_END
    return count


@compiled
def find_lines(body: Bytes, breaks: Integers) -> None:
    """The positions of the line ends; ``breaks`` has room for exactly all of them."""
    wanted = repeated(_LINE_END)
    found, at = 0, 0
    while found < len(breaks):
        if at + 8 <= len(body):
            marks = zero_bytes(load_word(body, at) ^ wanted)
            if marks == 0:
                at += 8
                continue
            at += first_byte(marks)
        elif body[at] != _LINE_END:
            at += 1
            continue
        breaks[found] = at
        found += 1
        at += 1
