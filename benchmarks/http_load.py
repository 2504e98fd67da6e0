"""A sender for the HTTP cases, in a process of its own: ``python -m benchmarks.http_load``.

Arguments: port, API key, NDJSON file, connections, records a request, and of single records how many.
Each connection sends its next request when it has the answer to the last; one more asks for usage
all the while. Prints one JSON object (``LoadResult``).

It speaks bare HTTP/1.1 over asyncio, because it shares the machine with the server it measures.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import orjson
import uvloop

QUESTION_EVERY_SECONDS: Final = 0.5
"""From the start of one to the next: as many are asked of a system that answers quickly as of a slow one."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """seconds: from the first request to the last answer. p50_ms, p99_ms: of one request with events;
    query_p50_ms, query_p99_ms: of one question for a meter's usage by subject meanwhile."""

    seconds: float
    requests: int
    records: int
    accepted: int
    p50_ms: float
    p99_ms: float
    query_p50_ms: float
    query_p99_ms: float


def main(arguments: list[str]) -> None:
    port, key, path, connections, records_a_request, records_max = arguments
    bodies = bodies_of(Path(path), int(records_a_request), int(records_max))
    result = uvloop.run(send_all(int(port), key, bodies, int(connections)))
    sys.stdout.write(orjson.dumps(asdict(result)).decode() + "\n")


async def send_all(port: int, key: str, bodies: Iterator[bytes], connections: int) -> LoadResult:
    """Send all bodies over so many connections. Raises RuntimeError for an answer other than 200."""
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    asking = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/x-ndjson\r\nContent-Length: "
    ).encode()
    milliseconds: list[float] = []
    reports: list[dict[str, int]] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in bodies:
            started = time.perf_counter()
            writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            await writer.drain()
            reports.append(await _answer(reader))
            milliseconds.append((time.perf_counter() - started) * 1000)

    ended = asyncio.Event()
    questions = asyncio.create_task(_ask(*asking, key, ended))
    started = time.perf_counter()
    try:
        await asyncio.gather(*(connection(*stream) for stream in streams))
        seconds = time.perf_counter() - started
    finally:
        ended.set()
        asked = await questions
        for _, writer in (*streams, asking):
            writer.close()
            await writer.wait_closed()
    return LoadResult(
        seconds=seconds,
        requests=len(milliseconds),
        records=sum(report["records"] for report in reports),
        accepted=sum(report["accepted"] for report in reports),
        p50_ms=_percentile(milliseconds, 50),
        p99_ms=_percentile(milliseconds, 99),
        query_p50_ms=_percentile(asked, 50),
        query_p99_ms=_percentile(asked, 99),
    )


def _percentile(milliseconds: list[float], percent: int) -> float:
    ordered = sorted(milliseconds)
    return round(ordered[len(ordered) * percent // 100], 2) if ordered else 0.0


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, ended: asyncio.Event
) -> list[float]:
    """Ask for one subject's usage until it is ended; milliseconds of each answer."""
    path = "/v1/usage?meter_id=tokens&subject=contract-0000001&time_from=2025-01-01T00:00:00Z"
    question = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    milliseconds: list[float] = []
    next_at = time.perf_counter()
    while not ended.is_set():
        next_at = max(next_at + QUESTION_EVERY_SECONDS, time.perf_counter())
        await asyncio.sleep(next_at - time.perf_counter())
        started = time.perf_counter()
        writer.write(question)
        # A small workload has no such meter: then it measures how fast that is said.
        await _read(reader)
        milliseconds.append((time.perf_counter() - started) * 1000)
    return milliseconds


async def _answer(reader: asyncio.StreamReader) -> dict[str, int]:
    head, body = await _read(reader)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {head!r} {body[:500]!r}")
    report: dict[str, int] = orjson.loads(body)
    return report


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return head, await reader.readexactly(int(fields[b"content-length"]))


def bodies_of(path: Path, records: int, records_max: int) -> Iterator[bytes]:
    """Bodies of about so many records: cut by bytes, because to count lines would cost the server's time."""
    with path.open("rb") as file:
        if records == 1:
            yield from islice(file, records_max)
            return
        size = sum(len(line) for line in islice(file, records)) - 1
        file.seek(0)
        while body := file.read(size):
            yield body + file.readline()


if __name__ == "__main__":
    main(sys.argv[1:])
