"""`ratemill stream`: events from a broker or a watched folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.events import REFUSAL_COLUMNS, REFUSALS_SHOWN_MAX
from api.cli.session import Session, command, group, table

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from api.client import RatemillClient
    from api.problem import ApiProblem
    from ingest.streams.batch import Send
    from ingest.streams.folder import TakeFile
    from ingest.streams.pump import Heard, Source

UntilEmpty = Annotated[bool, typer.Option("--until-empty", help="Leave when nothing more comes.")]
Wait = Annotated[int, typer.Option("--wait", min=1, max=60, help="Seconds to wait for a message.")]
Batch = Annotated[
    int, typer.Option("--batch", min=1, max=10_000, help="Messages taken in together, at most.")
]


def add_commands(app: typer.Typer) -> None:
    stream = group(app, "stream", "Take events from a broker or a watched folder, until stopped.")
    _add_nats(stream)
    _add_kafka(stream)
    _add_folder(stream)


def _add_nats(stream: typer.Typer) -> None:
    @command(stream, "nats")
    def nats(
        session: Session,
        stream_name: Annotated[str, typer.Option("--stream", help="The JetStream stream.")],
        url: Annotated[str, typer.Option(help="The NATS server.")] = "nats://127.0.0.1:4222",
        subject: Annotated[str | None, typer.Option(help="Only messages of this subject.")] = None,
        durable: Annotated[str, typer.Option(help="Name of the consumer at the server.")] = "ratemill",
        ack_wait: Annotated[
            int, typer.Option(min=1, help="Seconds until what a dead consumer had comes again.")
        ] = 60,
        batch: Batch = 1_000,
        wait: Wait = 5,
        until_empty: UntilEmpty = False,
    ) -> None:
        """Take events from NATS JetStream. A message is acknowledged when its events are on disk.

        A message holds one event or many: JSON, NDJSON, CloudEvents and more, told by its headers.
        """
        with _installed("nats"):
            from ingest.streams.nats import nats_source  # noqa: PLC0415 - an extra
        source = nats_source(
            url=url,
            stream=stream_name,
            subject=subject,
            durable=durable,
            messages_max=batch,
            ack_wait_seconds=ack_wait,
        )
        _run(session, source, batch=batch, wait=wait, until_empty=until_empty)


def _add_kafka(stream: typer.Typer) -> None:
    @command(stream, "kafka")
    def kafka(
        session: Session,
        topic: Annotated[str, typer.Option(help="The topic.")],
        brokers: Annotated[str, typer.Option(help="HOST:PORT, several with commas.")] = "127.0.0.1:9092",
        consumer_group: Annotated[str, typer.Option("--group", help="The consumer group.")] = "ratemill",
        option: Annotated[
            list[str] | None, typer.Option(help="A librdkafka setting, NAME=VALUE; may be given again.")
        ] = None,
        batch: Batch = 1_000,
        wait: Wait = 5,
        until_empty: UntilEmpty = False,
    ) -> None:
        """Take events from a Kafka topic. Offsets are committed when the events are on disk.

        A message holds one event or many: JSON, NDJSON, CloudEvents and more, told by its headers.
        """
        with _installed("kafka"):
            from ingest.streams.kafka import kafka_source  # noqa: PLC0415 - an extra
        options = dict(_setting(text) for text in option or ())
        source = kafka_source(brokers=brokers, topic=topic, group=consumer_group, options=options)
        _run(session, source, batch=batch, wait=wait, until_empty=until_empty)


def _add_folder(stream: typer.Typer) -> None:
    @command(stream, "folder")
    def folder(
        session: Session,
        path: Annotated[Path, typer.Argument(file_okay=False, help="The folder to watch.")],
        settle: Annotated[
            int, typer.Option(min=0, help="Seconds a file must not have changed; 0 if writers rename.")
        ] = 5,
        poll: Annotated[int, typer.Option(min=1, max=3600, help="Seconds between two looks.")] = 1,
        until_empty: UntilEmpty = False,
    ) -> None:
        """Take in files of events as they appear in a folder, each once.

        Files taken in are moved to done/, files nobody can read to failed/, each with a report.
        """
        from time import monotonic  # noqa: PLC0415

        from ingest.streams.folder import FolderWatch, watch_folder  # noqa: PLC0415

        watch = FolderWatch(path, settle_seconds=settle, seconds=monotonic)
        with session.client() as client, stopped_by_signals() as stop:
            totals = watch_folder(
                watch,
                take=file_taker(client),
                stop=stop,
                poll_seconds=poll,
                until_empty=until_empty,
                heard=_telling(session),
            )
        _show_totals(session, totals.to_dict(), until_empty=until_empty)


def _run(
    session: Session, source: AbstractContextManager[Source[Any]], *, batch: int, wait: int, until_empty: bool
) -> None:
    from ingest.settings import IngestSettings  # noqa: PLC0415
    from ingest.streams.pump import pump  # noqa: PLC0415

    with session.client() as client, stopped_by_signals() as stop, source as opened:
        totals = pump(
            opened,
            send=sender(client),
            settings=IngestSettings(),
            stop=stop,
            messages_max=batch,
            wait_seconds=wait,
            until_empty=until_empty,
            heard=_telling(session),
        )
    _show_totals(session, totals.to_dict(), until_empty=until_empty)


def _telling(session: Session) -> Heard:
    def heard(words: str, refusals: Sequence[Mapping[str, Any]]) -> None:
        session.say(words)
        if refusals and not session.as_json:
            session.err.print(table(refusals[:REFUSALS_SHOWN_MAX], REFUSAL_COLUMNS))

    return heard


def _show_totals(session: Session, answer: dict[str, int], *, until_empty: bool) -> None:
    session.show(answer, table([answer], [(f"{name.replace('_', ' ')}>", name) for name in answer]))
    refused = answer["rejected"] + answer["conflicts"] + answer.get("files_failed", 0)
    if until_empty and refused:  # a stream that is stopped has done its work, whatever came
        raise typer.Exit(1)


def sender(client: RatemillClient) -> Send:
    """Sends a body to POST /v1/events; see ``ingest.streams.batch.Send`` for what it raises."""
    from api.problem import ALL_REFUSED, ApiProblem  # noqa: PLC0415

    def send(body: bytes, media_type: str) -> Mapping[str, Any]:
        try:
            report: Mapping[str, Any] = client.post_bytes("/v1/events", body, content_type=media_type)
        except ApiProblem as refused:
            if refused.reason_code == ALL_REFUSED:
                return refused.document
            raise _stream_error(refused) from refused
        return report

    return send


def file_taker(client: RatemillClient) -> TakeFile:
    """Sends a file in slices; see ``ingest.streams.folder.TakeFile`` for what it raises."""
    from api.problem import ApiProblem  # noqa: PLC0415

    def take(path: Path) -> Mapping[str, Any]:
        try:
            return client.post_file(path).to_dict()
        except ApiProblem as refused:
            raise _stream_error(refused) from refused

    return take


def _stream_error(refused: ApiProblem) -> Exception:
    """What a problem means to a stream: the body is at fault, the key is, or it is to be tried again."""
    from ingest.errors import StoreUnavailable, UnreadableBody  # noqa: PLC0415

    if refused.status in (400, 413, 415, 422):
        return UnreadableBody(str(refused), reason_code=refused.reason_code)
    if refused.status in (401, 403, 404):
        return refused
    return StoreUnavailable(str(refused), reason_code=refused.reason_code)


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set: what is under way is finished first."""
    stop = Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _installed(extra: str) -> Iterator[None]:
    from ingest.errors import InvalidInput  # noqa: PLC0415

    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"this needs the package {error.name}: pip install 'ratemill[{extra}]'.",
            reason_code="package_missing",
        ) from error


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE.")
    return name.strip(), value
