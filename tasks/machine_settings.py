"""The settings of a machine: where it finds its stores, what its device takes, its secrets.

They are read from the environment of each process and never leave it. What is the same wherever a
night is run is in `tasks.night_settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SecretStr


class MachineSettings(BaseModel):
    """What a machine brings to a night."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, protected_namespaces=())

    home: Path = Field(
        default=Path(".hierdiff"), description="folder in which a stack keeps its files"
    )
    database_url: SecretStr | None = Field(
        default=None, description="the ledger: `postgresql://user:password@host/name`"
    )
    s3_endpoint_url: str | None = Field(
        default=None, description="address of the object store; empty: Amazon S3"
    )
    s3_bucket: str = Field(
        default="hierdiff", description="bucket for pictures, checkpoints and reports"
    )
    s3_prefix: str = Field(default="", description="prefix of every key, such as `nightly/`")
    s3_access_key: SecretStr | None = Field(
        default=None,
        description="access key of the stack's own store; for any other, boto3 finds it",
    )
    s3_secret_key: SecretStr | None = Field(
        default=None, description="secret key of the stack's own store"
    )
    public_url: str | None = Field(
        default=None, description="public address of the bucket; empty: links are signed for a week"
    )
    source_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL of your own database"
    )
    result_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the shop's database, for an account that may write there; "
        "empty: HIERDIFF_SOURCE_URL",
    )
    source_megabytes: int = Field(default=1000, ge=1, description="size of a file, at most")
    source_seconds: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that reading a source may take",
    )
    source_rows: int = Field(default=1_000_000, ge=1, description="rows of a night, at most")
    c2pa_certificate: Path | None = Field(
        default=None,
        description="file of certificates (PEM, your own first) that published files are signed "
        "with, as C2PA; empty: they are not signed",
    )
    c2pa_key: Path | None = Field(
        default=None, description="file of that certificate's key (PEM, without a password)"
    )
    c2pa_command: str | None = Field(
        default=None,
        description="instead of the key: a command that reads bytes and writes their signature",
    )
    c2pa_timestamp_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="time stamping authority (RFC 3161) that is asked for each file",
    )
    slots: PositiveInt | Literal["auto"] = Field(
        default="auto", description="rows denoised at once; auto measures the device"
    )
    compile: bool = Field(
        default=False,
        description="compile the network with torch: takes minutes once, then is faster on a GPU",
    )
    hold_weights: bool = Field(
        default=True,
        description="keep the last model's weights in main memory between the flow runs of a "
        "worker; compiled networks are not kept",
    )
    device: str = Field(
        default="auto", description="cuda, cuda:N or cpu; auto: a GPU if there is one"
    )
    text_pool: str = Field(
        default="cpu",
        description="pool whose workers embed prompts, read by `hierdiff deploy`; `cpu`: the "
        "night's own flow run does",
    )
    lease_seconds: float = Field(
        default=45.0, ge=1, description="seconds until a silent worker counts as gone"
    )
    keep_nights: int = Field(
        default=30, ge=1, description="completed nights of each catalogue that `hierdiff gc` keeps"
    )
    keep_gigabytes: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="size of splits that `hierdiff gc` keeps, at most; empty: all of those nights",
    )

    patience_seconds: float = Field(
        default=900.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds that a night waits for a database or a bucket that is away",
    )
    hold_megabytes: int = Field(
        default=512,
        ge=1,
        description="memory of a worker for finished work while the stores are away",
    )
    notify: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="a notification block of the Prefect server, as `slack-webhook/oncall`; "
        "`hierdiff deploy` has it told of nights that need somebody",
    )
    notify_hours: float = Field(
        default=6.0, gt=0, le=168, description="hours after which a night that runs is late"
    )
    notify_rejected: int = Field(
        default=0, ge=0, description="rejected rows of a night that need no message"
    )
    gpu_price_per_hour: float | None = Field(
        default=None, ge=0, description="price of one GPU, for the cost of a night"
    )
    kwh_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="price of a kWh, where energy is paid for beside the GPU's hours",
    )
    currency: str = Field(default="USD", description="currency of these prices")

    @property
    def digests(self) -> Path:
        """The file in which the digests of weights on this machine are remembered."""
        return self.home / "digests.json"
