"""How commands (and programs) talk to Ratemill: always HTTP, over a socket or a private one.

``connect`` finds whom to talk to, in this order: the server named by ``--server`` or
``RATEMILL_SERVER``; the `ratemill serve` that owns the data folder; else it opens the folder itself and
runs the same application on a unix socket that only this process knows, for as long as the block runs.
So a command and a request always say the same things in the same words.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from api.problem import ALL_REFUSED, BUSY_SECONDS, PROBLEM_MEDIA_TYPE, ApiProblem, problem
from api.settings import Settings
from api.slices import Slice, slices_of
from ingest.errors import Busy, InvalidInput

__all__ = ["ApiProblem", "FileReport", "RatemillClient", "connect", "running_server"]

REFUSALS_MAX: Final = 1000
"""Refusals kept of a whole file; the counts are always complete and the store keeps every one."""
SERVER_FILE: Final = "server.json"
TIMEOUT_SECONDS: Final = 600
BUSY_TRIES_MAX: Final = 60

FileProgress = Callable[[int, int], None]
"""Called with (bytes sent, bytes in all)."""


@dataclass(slots=True)
class FileReport:
    """What became of the records of one file; the counts add up to ``records``."""

    path: str
    records: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    batch_ids: list[str] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    refusals_truncated: bool = False

    def add(self, report: Mapping[str, Any], line_offset: int) -> None:
        """Take in one batch's report, its lines counted from the start of the file."""
        for name in ("records", "accepted", "duplicates", "conflicts", "rejected"):
            setattr(self, name, getattr(self, name) + report[name])
        self.batch_ids.append(report["batch_id"])
        room = REFUSALS_MAX - len(self.refusals)
        refusals = report["refusals"]
        self.refusals += [{**item, "line": item["line"] + line_offset} for item in refusals[:room]]
        self.refusals_truncated |= bool(report["refusals_truncated"]) or len(refusals) > room

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "records": self.records,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "rejected": self.rejected,
            "batch_ids": self.batch_ids,
            "refusals": self.refusals,
            "refusals_truncated": self.refusals_truncated,
        }


class RatemillClient:
    """The API, one method a verb. Every method raises ApiProblem when the answer is a problem.

    where: whom it talks to, in words for people.
    """

    def __init__(self, http: httpx.Client, where: str) -> None:
        self._http = http
        self.where = where

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """GET; the JSON answer."""
        return _json(self._send("GET", path, params=_given(params)))

    def get_bytes(self, path: str, *, accept: str, params: Mapping[str, Any] | None = None) -> bytes:
        """GET in another media type; the body as it is."""
        return self._send("GET", path, params=_given(params), headers={"Accept": accept}).content

    def put(self, path: str, body: bytes, *, content_type: str = "application/yaml") -> Any:
        """PUT one document, YAML or JSON, as it was written."""
        return _json(self._send("PUT", path, content=body, headers={"Content-Type": content_type}))

    def post(
        self,
        path: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Any:
        """POST a JSON body (``bytes`` are sent as they are). idempotency_key: with it, it is done once."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        headers |= {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return _json(self._send("POST", path, params=_given(params), content=content, headers=headers))

    def post_bytes(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str,
        content_encoding: str = "identity",
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """POST a body of any media type."""
        headers = {"Content-Type": content_type, "Content-Encoding": content_encoding}
        return _json(self._send("POST", path, params=_given(params), content=body, headers=headers))

    def post_for_bytes(self, path: str, body: bytes, *, accept: str) -> bytes:
        """POST a JSON body for an answer in another media type; the answer as it is."""
        headers = {"Content-Type": "application/json", "Accept": accept}
        return self._send("POST", path, content=body, headers=headers).content

    def post_to_file(self, path: str, body: bytes, file: Path, *, accept: str) -> None:
        """POST a JSON body for an answer of any size: ``file`` when all of it has come, else nothing."""
        headers = {"Content-Type": "application/json", "Accept": accept}
        part = file.with_name(f"{file.name}.part")
        try:
            with self._http.stream("POST", path, content=body, headers=headers) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise ApiProblem(_problem_in(answer, self.where))
                with part.open("wb") as target:
                    for piece in answer.iter_bytes():
                        target.write(piece)
            part.replace(file)
        except httpx.HTTPError as error:
            detail = f"the answer of {self.where} broke off: {error}. Nothing was written; its log says why."
            raise ApiProblem(problem(503, "answer_broke_off", detail)) from error
        except OSError as error:
            raise InvalidInput(
                f"{file} cannot be written: {error.strerror}. Name another file.",
                reason_code="file_not_written",
            ) from None
        finally:
            part.unlink(missing_ok=True)

    def delete(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """DELETE; the JSON answer."""
        return _json(self._send("DELETE", path, params=_given(params)))

    def post_file(self, path: Path, *, progress: FileProgress | None = None) -> FileReport:
        """Send a file of events of any size, in slices.

        A slice that cannot be read at all raises ApiProblem; the slices before it stay taken, and
        sending the whole file again is safe: an event counts once for ever.
        """
        size = path.stat().st_size
        report = FileReport(path=str(path))
        for piece in slices_of(path):
            try:
                answer = self._post_patiently("/v1/events", piece)
            except ApiProblem as refused:
                if refused.reason_code != ALL_REFUSED:
                    raise
                answer = refused.document
            report.add(answer, piece.line_offset)
            if progress is not None:
                progress(min(piece.bytes_read, size), size)
        return report

    def _post_patiently(self, path: str, piece: Slice) -> Any:
        """POST a slice; while the server has too much to do, wait as it asks and try again."""
        for _ in range(BUSY_TRIES_MAX):
            try:
                return self.post_bytes(path, piece.body, content_type=piece.content_type)
            except ApiProblem as refused:
                if refused.reason_code != Busy.reason_code:
                    raise
                time.sleep(BUSY_SECONDS)
        return self.post_bytes(path, piece.body, content_type=piece.content_type)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            detail = f"no answer from {self.where}: {error}. Is it running, and is the address right?"
            raise ApiProblem(problem(503, "no_answer", detail)) from error
        if response.status_code >= 400:
            raise ApiProblem(_problem_in(response, self.where))
        return response


@contextmanager
def connect(settings: Settings, *, needs_key: bool = True) -> Iterator[RatemillClient]:
    """A client for the time of the block; see the module for whom it talks to.

    needs_key: False for what a server answers without an API key. Raises ApiProblem when a server is
    found and there is no key for it, and StoreUnavailable when the folder cannot be opened.
    """
    if settings.server:
        where = f"the server at {settings.server}"
        with _over_network(settings.server, settings.key, where, needs_key=needs_key) as client:
            yield client
        return
    running = running_server(settings.data)
    if running is not None:
        where = f"the server at {running} (it owns the folder {settings.data})"
        with _over_network(running, settings.key, where, needs_key=needs_key) as client:
            yield client
        return
    from api.private import private_server  # noqa: PLC0415 - stores are loaded only when they are opened

    with private_server(settings) as (transport, token):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(
            transport=transport, base_url="http://ratemill", headers=headers, timeout=TIMEOUT_SECONDS
        ) as http:
            yield RatemillClient(http, f"the folder {settings.data}, opened by this command")


def running_server(data_folder: Path) -> str | None:
    """URL of the `ratemill serve` that owns the folder, if one is alive."""
    try:
        noted = orjson.loads((data_folder / SERVER_FILE).read_bytes())
        os.kill(noted["pid"], 0)
        return str(noted["url"])
    except PermissionError:  # the process lives and is another user's
        return str(noted["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _over_network(url: str, key: str | None, where: str, *, needs_key: bool) -> Iterator[RatemillClient]:
    if needs_key and not key:
        detail = (
            f"talking to {where} needs an API key: set RATEMILL_KEY or give --key. "
            "`ratemill keys create --scope admin`, beside the server's data folder, makes one."
        )
        raise ApiProblem(problem(401, "key_missing", detail))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(
        base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT_SECONDS, verify=_certificates()
    ) as http:
        yield RatemillClient(http, where)


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to believe over TLS. To read them takes 20 ms, a client without it none."""
    return httpx.create_ssl_context()


def _given(params: Mapping[str, Any] | None) -> dict[str, str | list[str]]:
    return {
        name: [str(one) for one in value] if isinstance(value, list) else str(value)
        for name, value in (params or {}).items()
        if value is not None
    }


def _json(response: httpx.Response) -> Any:
    return orjson.loads(response.content) if response.content else None


def _problem_in(response: httpx.Response, where: str) -> dict[str, Any]:
    if response.headers.get("content-type", "").startswith(PROBLEM_MEDIA_TYPE):
        document: dict[str, Any] = orjson.loads(response.content)
        return document
    detail = f"{where} answered {response.status_code}: {response.text[:300]}. Is it a Ratemill server?"
    return problem(response.status_code, "not_a_problem_document", detail)
