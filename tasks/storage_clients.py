"""Clients of S3 made from settings: credentials, time limits, and which setting is at fault."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ConfigNotFound,
    ConfigParseError,
    InvalidRegionError,
    NoRegionError,
    ProfileNotFound,
)
from botocore.loaders import Loader, create_loader
from botocore.session import get_session

from hierdiff_core.errors import InvalidSetting
from tasks.addresses import without_accounts
from tasks.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Enough for a few savers and loaders at once beside each worker's device.
_CONNECTIONS = 32
FOR_WORK = {
    "retries": {"total_max_attempts": 4, "mode": "standard"},
    "connect_timeout": 5,
    "read_timeout": 30,
}
# Who is told that the server is not there should not have to wait for it.
FOR_A_TRY = {
    "retries": {"total_max_attempts": 2, "mode": "standard"},
    "connect_timeout": 3,
    "read_timeout": 3,
}
_BLAMED: dict[tuple[type[Exception], ...], str] = {
    (ProfileNotFound,): "AWS_PROFILE",
    (ConfigNotFound, ConfigParseError): "AWS_CONFIG_FILE",
    (InvalidRegionError, NoRegionError): "AWS_REGION",
}


def name_account(settings: Settings) -> str:
    """Return where the credentials come from, for people."""
    if settings.s3_access_key is not None:
        return "HIERDIFF_S3_ACCESS_KEY and HIERDIFF_S3_SECRET_KEY"
    profile = os.environ.get("AWS_PROFILE")
    return "the AWS credentials" + (f" of AWS_PROFILE {profile!r}" if profile else "")


def connect_clients(settings: Settings, *waiting: Mapping[str, Any]) -> list[S3Client]:
    """Return one client for each way to wait; raise InvalidSetting where none can be made."""
    secrets: dict[str, Any] = {}
    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        secrets["aws_access_key_id"] = settings.s3_access_key.get_secret_value()
        secrets["aws_secret_access_key"] = settings.s3_secret_key.get_secret_value()
        secrets["region_name"] = "us-east-1"
    try:
        # A session of its own: boto3's default one must not be shared by threads.
        own = get_session()
        own.register_component("data_loader", _load_descriptions())
        session = boto3.session.Session(botocore_session=own, **secrets)
        return [
            session.client(
                "s3", endpoint_url=settings.s3_endpoint_url, config=_config(settings, each)
            )
            for each in waiting
        ]
    except (BotoCoreError, ValueError) as error:
        name, value = _blamed(error, settings)
        hint = without_accounts(str(error)).rstrip(".")
        raise InvalidSetting(setting=name, value=value, hint=hint) from None


@cache
def _load_descriptions() -> Loader:
    """Return boto3's descriptions of S3, whose reading takes most of a connection's time."""
    return create_loader()


def _blamed(error: Exception, settings: Settings) -> tuple[str, str | None]:
    """Return the variable, and its value, that a client cannot be made with."""
    for kinds, name in _BLAMED.items():
        if isinstance(error, kinds):
            return name, os.environ.get(name)
    return "HIERDIFF_S3_ENDPOINT_URL", without_accounts(settings.s3_endpoint_url or "")


def _config(settings: Settings, waiting: Mapping[str, Any]) -> Config:
    return Config(
        **waiting,
        signature_version="s3v4",
        max_pool_connections=_CONNECTIONS,
        # Servers other than Amazon's have neither host names per bucket nor the newer checksums.
        s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
