"""Every setting of Ratemill: the only place that reads the environment.

Each is an environment variable ``RATEMILL_NAME``; ``settings_table()`` lists name, default and help,
and the documentation is tested against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import DirectoryPath, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.errors import InvalidInput
from invoicing.einvoice_model import Profile

ENVIRONMENT_PREFIX = "RATEMILL_"


class Settings(BaseSettings):
    """The settings of one process, read once at its start."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore")

    data: Path = Field(
        default=Path("ratemill-data"),
        description="Folder of the embedded stores, made on first use. One process at a time owns it.",
    )
    events_url: str | None = Field(
        default=None,
        description="Event store: chdb:///FOLDER or http(s)://USER:PASSWORD@HOST:PORT/DATABASE of a "
        "ClickHouse server. Left out: chDB in the data folder.",
    )
    events_cluster: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of a ClickHouse cluster, of which RATEMILL_EVENTS_URL names a machine: tables are "
        "replicated and spread over its shards. Left out: a server on its own.",
    )
    gate: Literal["memory", "bounded"] = Field(
        default="memory",
        description="Where the identities of events are kept, for ever and exactly. memory: 27 to 43 bytes "
        "an event, fastest. bounded: 4 bytes, and a table in the event store, where resends are looked up. "
        "It may be changed at any start.",
    )
    ledger_url: str | None = Field(
        default=None,
        pattern=r"^(sqlite|postgresql(\+psycopg)?)://",
        description="Ledger: sqlite:////FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE. "
        "Left out: SQLite in the data folder.",
    )
    host: str = Field(default="127.0.0.1", description="Address that `ratemill serve` listens on.")
    port: int = Field(default=8787, ge=0, le=65535, description="Port that `ratemill serve` listens on.")
    print_processes: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Processes that print when many invoices are asked for at once: one a core.",
    )
    fonts: DirectoryPath | None = Field(
        default=None,
        description="Folder with fonts for documents in scripts that the shipped ones do not have: Chinese, "
        "Japanese, Korean, Thai, emoji. Left out: such a document is not printed, and says why.",
    )
    threads: int = Field(
        default=8, ge=2, le=256, description="Requests worked on at the same time by one server process."
    )
    idempotency_hours: int = Field(
        default=24, ge=1, le=8760, description="How long an answer is kept for its Idempotency-Key."
    )
    scheduler: Literal["on", "off"] = Field(
        default="off",
        description="on: `ratemill serve` bills by itself what has become due, looked at once a minute.",
    )
    rollup_seconds: int = Field(
        default=60,
        ge=0,
        description="How often `ratemill serve` adds up the usage of open periods in the background, so that "
        "billing need not read events; every tenth time it also looks for new periods. 0: only when asked.",
    )
    invoice_series: str = Field(
        default="INV", pattern=r"^[A-Z0-9-]{1,16}$", description="First part of every invoice number."
    )
    credit_note_series: str = Field(
        default="CN",
        pattern=r"^[A-Z0-9-]{1,16}$",
        description="First part of every credit note number. The same as RATEMILL_INVOICE_SERIES: credit "
        "notes and invoices are numbered in one series.",
    )
    negative_total: Literal["credit_note", "hold"] = Field(
        default="credit_note",
        description="What becomes of a billing date that comes to less than nothing. credit_note: it is "
        "issued as one, with a number of that series. hold: it waits for a person, later dates with it.",
    )
    accruals: Literal["on", "off"] = Field(
        default="off",
        description="on: the scheduler recognises what is delivered and not billed when a month is over, as "
        "`ratemill journal recognise` does.",
    )
    seller_name: str = Field(
        default="", max_length=512, description="Who sends the invoices; heads every invoice from then on."
    )
    seller_address: str = Field(
        default="",
        max_length=2048,
        description="Address of the seller, its lines separated by `;`, without the country.",
    )
    seller_country: str = Field(
        default="", pattern=r"^([A-Z]{2})?$", description="Country of the seller, like DE or US."
    )
    seller_tax_id: str = Field(
        default="", max_length=64, description="Tax ID of the seller, as it is to be printed."
    )
    seller_email: str = Field(default="", max_length=320, description="E-mail address of the seller.")
    seller_bank_account: str = Field(
        default="", max_length=512, description="Where to pay, as the payer needs it; printed under Terms."
    )
    smtp_url: str | None = Field(
        default=None,
        pattern=r"^(smtp|smtps|smtp\+starttls)://",
        description="Mail server: smtps://USER:PASSWORD@HOST:465, smtp+starttls://USER:PASSWORD@HOST:587 or "
        "smtp://HOST:25. Left out: no e-mail is sent, and `ratemill delivery status` says so.",
    )
    mail_from: str | None = Field(
        default=None,
        pattern=r"^[^@\s<>]+@[^@\s<>]+$",
        description="The house's e-mail address: sender of what has no other sender; bounces go there.",
    )
    mail_domains: str = Field(
        default="",
        max_length=2048,
        description="Further domains, separated by `,`, whose addresses may stand in From because SPF and "
        "DKIM are set up for them.",
    )
    dkim_selector: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", description="Selector of the DKIM key in DNS."
    )
    dkim_key: Path | None = Field(
        default=None, description="PEM file with the private DKIM key. Left out: mail is not signed."
    )
    mail_templates: Path | None = Field(
        default=None,
        description="Folder with wording of your own for e-mails, file by file before the shipped ones.",
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where customers reach this server; links in messages begin with it.",
    )
    link_secret: str | None = Field(
        default=None,
        min_length=16,
        description="Secret that links and webhooks are signed with, at least 16 characters. Another one "
        "makes all links that are out useless.",
    )
    crm_adapters: str = Field(
        default="",
        pattern=r"^([^\s,=]+=[^\s,=]+(,[^\s,=]+=[^\s,=]+)*)?$",
        description="Which adapter reads the webhooks of which CRM, like `hub=acme-hub,other=acme-hub`; a "
        "system that is not named speaks the reference dialect.",
    )
    link_days: int = Field(default=90, ge=1, le=3650, description="How long a link in a message opens.")
    print_folder: Path | None = Field(
        default=None, description="Folder that documents for the print shop are written to."
    )
    network_folder: Path | None = Field(
        default=None, description="Folder that e-invoices for the network are written to."
    )
    network_profile: Profile = Field(
        default="peppol", description="What the network asks of e-invoices: en16931, peppol or xrechnung."
    )
    server: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of the server that commands talk to, instead of the data folder.",
    )
    key: str | None = Field(
        default=None, description="API key that commands send to a server (`ratemill keys create`)."
    )


class SettingRow(NamedTuple):
    """One row of the settings table."""

    name: str
    default: str
    help: str


def settings_table() -> Iterator[SettingRow]:
    """Name, default and help of every setting, in the order they are declared."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        yield SettingRow(ENVIRONMENT_PREFIX + name.upper(), default, field.description or "")


def load_settings(*, data: Path | None = None, server: str | None = None, key: str | None = None) -> Settings:
    """The environment's settings; an argument given here (from the command line) goes before it.

    Raises InvalidInput naming the variables whose values cannot be used.
    """
    given = {"data": data, "server": server, "key": key}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        # Not the value itself: it may hold a password.
        wrong = "; ".join(
            f"{ENVIRONMENT_PREFIX}{str(name).upper()}: {item['msg']}. "
            f"It says: {Settings.model_fields[str(name)].description}"
            for item in error.errors()
            for name in item["loc"][:1]
        )
        raise InvalidInput(
            f"the settings cannot be used. {wrong}",
            reason_code="invalid_settings",
        ) from None
