"""The object store: checkpoints, pictures and reports in one S3 bucket.

Bytes are put and fetched under a key and compared with their checksum. The checksum is the caller's
to keep (the ledger does): a server may lose the metadata of an object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from hierdiff_core.errors import InvalidSetting
from tasks.errors import CorruptObject, MissingBucket, MissingObject, UnreachableStorage
from tasks.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_OURS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})

# Enough for a few savers and loaders at once beside each worker's device.
_CONNECTIONS = 32
_READS = 3  # of an object whose body arrives damaged or is cut off


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a bucket lists it."""

    key: str
    bytes: int
    modified: datetime  # by the server's clock


@dataclass(frozen=True)
class Bucket:
    """One bucket and the prefix before every key; may be used by several threads at once.

    Every method raises UnreachableStorage where the server does not answer or refuses.
    """

    client: S3Client = field(repr=False)
    name: str
    prefix: str = ""

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store bytes under a key, over what was there; return their sha256."""
        with self._reaching():
            self.client.put_object(
                Bucket=self.name, Key=self._full(key), Body=body, ContentType=content_type
            )
        return hashlib.sha256(body).hexdigest()

    def get(self, key: str, sha256: str | None = None) -> bytes:
        """Return the bytes under a key.

        Raises MissingObject, and CorruptObject where they do not have the sha256 expected, read
        again and again: a line may damage what the store holds whole.
        """
        found = ""
        for _ in range(_READS):
            body = self._read(key)
            found = hashlib.sha256(body).hexdigest()
            if sha256 is None or found == sha256:
                return body
        raise CorruptObject(key=key, bucket=self.name, found=found, wanted=sha256)

    def exists(self, key: str) -> bool:
        """Return whether there is an object under a key."""
        try:
            with self._reaching(key):
                self.client.head_object(Bucket=self.name, Key=self._full(key))
        except MissingObject:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove an object; does nothing where there is none."""
        with self._reaching():
            self.client.delete_object(Bucket=self.name, Key=self._full(key))

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove objects, those of a page at most, in one request; see `delete`."""
        if not keys:
            return
        wanted: Any = {"Objects": [{"Key": self._full(key)} for key in keys], "Quiet": True}
        with self._reaching():
            reply = self.client.delete_objects(Bucket=self.name, Delete=wanted)
        for fault in reply.get("Errors", ()):
            if fault.get("Code") not in _ABSENT:
                raise self._unreachable(OSError(fault.get("Message", "an object is not removed")))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with a prefix, in order."""
        for page in self.pages(prefix):
            for entry in page:
                yield entry.key

    def pages(self, prefix: str = "") -> Iterator[tuple[StoredObject, ...]]:
        """Yield the objects whose keys start with a prefix, in order, up to 1,000 at once.

        Those that have been yielded may be removed meanwhile.
        """
        with self._reaching():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix
            )
            for page in pages:
                yield tuple(
                    StoredObject(
                        each["Key"].removeprefix(self.prefix), each["Size"], each["LastModified"]
                    )
                    for each in page.get("Contents", ())
                )

    def presigned_url(self, key: str, seconds: int = 3600, *, file_name: str = "") -> str:
        """Return a link that lets anyone read an object for a while; it holds no secret.

        Browsers save the object under `file_name`.
        """
        wanted: dict[str, Any] = {"Bucket": self.name, "Key": self._full(key)}
        if file_name:
            # Percent-coded by RFC 5987, so that no name can write a header.
            disposition = f"inline; filename*=UTF-8''{quote(file_name, safe='')}"
            wanted["ResponseContentDisposition"] = disposition
        return self.client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)

    def _read(self, key: str, left: int = _READS) -> bytes:
        with self._reaching(key):
            reply = self.client.get_object(Bucket=self.name, Key=self._full(key))
            try:
                return reply["Body"].read()
            except BotoCoreError:  # cut off within the body, which boto3 does not read again
                if left == 1:
                    raise
        return self._read(key, left - 1)

    def _full(self, key: str) -> str:
        return self.prefix + key

    @contextmanager
    def _reaching(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if key and code in _ABSENT:
                raise MissingObject(key=key, bucket=self.name) from None
            if code == "NoSuchBucket":
                raise MissingBucket(bucket=self.name, endpoint=self._endpoint) from None
            raise self._unreachable(error) from None
        except BotoCoreError as error:
            raise self._unreachable(error) from None
        except RecursionError:
            # boto3 follows a redirection to another region, again and again.
            reason = "it redirects every request"
            raise UnreachableStorage(
                bucket=self.name, endpoint=self._endpoint, reason=reason
            ) from None

    def _unreachable(self, error: Exception) -> UnreachableStorage:
        reason = " ".join(str(error).split())
        return UnreachableStorage(bucket=self.name, endpoint=self._endpoint, reason=reason)

    @property
    def _endpoint(self) -> str:
        return self.client.meta.endpoint_url


def connect_bucket(settings: Settings, *, create: bool = False) -> Bucket:
    """Return the bucket that is set, tried once; `create` is for the stack's own server.

    Raises InvalidSetting, MissingBucket, UnreachableStorage.
    """
    folder = settings.s3_prefix.strip("/")
    prefix = f"{folder}/" if folder else ""
    bucket = Bucket(_connect_client(settings), settings.s3_bucket, prefix)
    try:
        with bucket._reaching(key="the bucket"):
            bucket.client.head_bucket(Bucket=bucket.name)
    except MissingObject:
        if not create:
            raise MissingBucket(bucket=bucket.name, endpoint=bucket._endpoint) from None
        _create(bucket)
    return bucket


def _create(bucket: Bucket) -> None:
    try:
        bucket.client.create_bucket(Bucket=bucket.name)
    except ClientError as error:
        # Another process of the stack may have been first.
        if error.response["Error"].get("Code") not in _OURS:
            raise bucket._unreachable(error) from None


def _connect_client(settings: Settings) -> S3Client:
    secrets: dict[str, Any] = {}
    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        secrets["aws_access_key_id"] = settings.s3_access_key.get_secret_value()
        secrets["aws_secret_access_key"] = settings.s3_secret_key.get_secret_value()
        secrets["region_name"] = "us-east-1"
    try:
        # A session of its own: boto3's default one must not be shared by threads.
        client: S3Client = boto3.session.Session(**secrets).client(
            "s3", endpoint_url=settings.s3_endpoint_url, config=_config(settings)
        )
    except (BotoCoreError, ValueError) as error:
        raise InvalidSetting(
            setting="HIERDIFF_S3_ENDPOINT_URL", value=settings.s3_endpoint_url, hint=str(error)
        ) from None
    return client


def _config(settings: Settings) -> Config:
    return Config(
        signature_version="s3v4",
        retries={"max_attempts": 4, "mode": "standard"},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=_CONNECTIONS,
        # Servers other than Amazon's have neither host names per bucket nor the newer checksums.
        s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
