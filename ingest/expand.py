"""Decompression that cannot be made to eat the memory, and that notices a body cut short."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import zstandard

from ingest.errors import UnreadableBody
from ingest.settings import IngestSettings

_PIECE_BYTES: Final = 1024 * 1024
_ZSTD_FEED_BYTES: Final = 512
"""512 compressed bytes hold at most 128 zstd blocks of 128 KiB: 16 MiB come out at once, not more."""
_ZSTD_WINDOW_BYTES_MAX: Final = 1 << 27
_GZIP_WINDOW_BITS: Final = 31


def expand_body(body: bytes, content_encoding: str, settings: IngestSettings) -> bytes:
    """The body decompressed. Raises UnreadableBody when damaged, cut short, too large or a bomb.

    Stops as soon as a limit is passed, so memory stays near ``body_bytes_max``.
    """
    if content_encoding == "identity":
        if len(body) > settings.body_bytes_max:
            raise _too_large(settings)
        return body
    pieces: list[bytes] = []
    size = 0
    for piece in expand([body], content_encoding):
        size += len(piece)
        if size > settings.body_bytes_max:
            raise _too_large(settings)
        if size > settings.expansion_free_bytes and size > settings.expansion_ratio_max * len(body):
            raise UnreadableBody(
                f"the body grows more than {settings.expansion_ratio_max} times when decompressed, "
                "which usage events do not. Nothing of it was taken.",
                reason_code="body_too_large",
            )
        pieces.append(piece)
    return b"".join(pieces)


def expand(chunks: Iterable[bytes], content_encoding: str) -> Iterator[bytes]:
    """Decompressed pieces of at most some MiB. Raises UnreadableBody when damaged or cut short."""
    if content_encoding == "identity":
        yield from chunks
        return
    try:
        if content_encoding == "gzip":
            yield from _expand_gzip(chunks)
        else:
            yield from _expand_zstd(chunks)
    except (zlib.error, zstandard.ZstdError) as error:
        raise UnreadableBody(
            f"the {content_encoding} data is damaged: {error}. Compress it again and resend.",
            reason_code="damaged_compression",
        ) from error


def _expand_gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member: Any = None  # gzip files may be several members in a row
    for chunk in chunks:
        rest = chunk
        while rest:
            member = member or zlib.decompressobj(_GZIP_WINDOW_BITS)
            piece = member.decompress(rest, _PIECE_BYTES)
            if piece:
                yield piece
            rest = member.unconsumed_tail
            if member.eof:
                rest = member.unused_data
                member = None
    if member is not None:
        raise _cut_short("gzip")


def _expand_zstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    frame: Any = None
    for chunk in chunks:
        for start in range(0, len(chunk), _ZSTD_FEED_BYTES):
            rest = chunk[start : start + _ZSTD_FEED_BYTES]
            while rest:
                frame = frame or decompressor.decompressobj()
                piece = frame.decompress(rest)
                if piece:
                    yield piece
                rest = b""
                if frame.eof:
                    rest = frame.unused_data
                    frame = None
    if frame is not None:
        raise _cut_short("zstd")


def _cut_short(content_encoding: str) -> UnreadableBody:
    return UnreadableBody(
        f"the {content_encoding} data ends too early: it was cut short on its way. Resend all of it; "
        "what was taken before is then counted as duplicate.",
        reason_code="truncated_body",
    )


def _too_large(settings: IngestSettings) -> UnreadableBody:
    return UnreadableBody(
        f"the body has more than {settings.body_bytes_max} bytes after decompression. Send smaller "
        "batches, or load it as a file with `ratemill ingest FILE`. Nothing of it was taken.",
        reason_code="body_too_large",
    )
