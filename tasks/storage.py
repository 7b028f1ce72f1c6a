"""The object store: checkpoints, pictures and reports in one S3 bucket.

Bytes are put and fetched under a key and compared with their checksum. The checksum is the caller's
to keep (the ledger does): a server may lose the metadata of an object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from tasks.addresses import without_accounts
from tasks.errors import CorruptObject, MissingBucket, MissingObject
from tasks.patience import AT_ONCE, Patience
from tasks.settings import Settings
from tasks.storage_clients import FOR_A_TRY, FOR_WORK, connect_clients, name_account
from tasks.storage_faults import ABSENT, FAULTS, Place, explain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

_OURS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})

Answer = TypeVar("Answer")

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

    Every method raises UnreachableStorage where the server does not answer, StillAway where no
    patience helped, and RefusedByStorage or MissingBucket where it will not answer otherwise later.
    """

    client: S3Client = field(repr=False)
    name: str
    prefix: str = ""
    account: str = "the AWS credentials"  # for people: where its credentials come from
    patience: Patience = AT_ONCE
    proven: bool = False  # whether it has answered before

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store bytes under a key, over what was there; return their sha256."""
        self._ask(
            lambda: self.client.put_object(
                Bucket=self.name, Key=self._full(key), Body=body, ContentType=content_type
            )
        )
        return hashlib.sha256(body).hexdigest()

    def get(self, key: str, sha256: str | None = None) -> bytes:
        """Return the bytes under a key.

        Raises MissingObject, and CorruptObject where they do not have the sha256 expected, read
        again and again: a line may damage what the store holds whole.
        """
        found = ""
        for _ in range(_READS):
            body = self._ask(lambda: self._read(key), key)
            found = hashlib.sha256(body).hexdigest()
            if sha256 is None or found == sha256:
                return body
        raise CorruptObject(key=key, bucket=self.name, found=found, wanted=sha256)

    def exists(self, key: str) -> bool:
        """Return whether there is an object under a key."""
        try:
            self._ask(lambda: self.client.head_object(Bucket=self.name, Key=self._full(key)), key)
        except MissingObject:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove an object; does nothing where there is none."""
        self._ask(lambda: self.client.delete_object(Bucket=self.name, Key=self._full(key)))

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove objects, those of a page at most, in one request; see `delete`."""
        if not keys:
            return
        wanted: Any = {"Objects": [{"Key": self._full(key)} for key in keys], "Quiet": True}
        reply = self._ask(lambda: self.client.delete_objects(Bucket=self.name, Delete=wanted))
        for fault in reply.get("Errors", ()):
            if fault.get("Code") not in ABSENT:
                reason = fault.get("Message", "an object is not removed")
                raise self.place.refused(reason, f"check what {self.account} may do there")

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with a prefix, in order."""
        for page in self.pages(prefix):
            for entry in page:
                yield entry.key

    def pages(self, prefix: str = "") -> Iterator[tuple[StoredObject, ...]]:
        """Yield the objects whose keys start with a prefix, in order, up to 1,000 at once.

        Those that have been yielded may be removed meanwhile.
        """
        after = ""
        while True:
            page = self._page(prefix, after)
            found = page.get("Contents", [])
            yield tuple(
                StoredObject(
                    each["Key"].removeprefix(self.prefix), each["Size"], each["LastModified"]
                )
                for each in found
            )
            if not page.get("IsTruncated"):
                return
            after = found[-1]["Key"]

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

    def _page(self, prefix: str, after: str) -> ListObjectsV2OutputTypeDef:
        return self._ask(
            lambda: self.client.list_objects_v2(
                Bucket=self.name, Prefix=self.prefix + prefix, StartAfter=after
            )
        )

    def _read(self, key: str, left: int = _READS) -> bytes:
        reply = self.client.get_object(Bucket=self.name, Key=self._full(key))
        try:
            return reply["Body"].read()
        except BotoCoreError:  # cut off within the body, which boto3 does not read again
            if left == 1:
                raise
        return self._read(key, left - 1)

    def _full(self, key: str) -> str:
        return self.prefix + key

    def _ask(self, call: Callable[[], Answer], key: str = "") -> Answer:
        """Return what a call answers, of an object's `key` where it asks for one."""

        def ask() -> Answer:
            try:
                return call()
            except FAULTS as error:
                raise explain(error, self.place, key) from None

        return self.patience.outlast(ask)

    @property
    def place(self) -> Place:
        """Where it is, for people."""
        endpoint = without_accounts(self.client.meta.endpoint_url)
        return Place(self.name, endpoint, self.account, self.proven)


def connect_bucket(
    settings: Settings, *, create: bool = False, patience: Patience = AT_ONCE
) -> Bucket:
    """Return the bucket that is set, tried once; `create` is for the stack's own server.

    The bucket's own calls are made with `patience`. Raises InvalidSetting, MissingBucket,
    UnreachableStorage, RefusedByStorage.
    """
    folder = settings.s3_prefix.strip("/")
    prefix = f"{folder}/" if folder else ""
    account = name_account(settings)
    working, trying = connect_clients(settings, FOR_WORK, FOR_A_TRY)
    bucket = Bucket(working, settings.s3_bucket, prefix, account)
    try:
        _try(replace(bucket, client=trying))
    except MissingBucket:
        if not create:
            raise
        _create(bucket)
    return replace(bucket, patience=patience, proven=True)


def _try(bucket: Bucket) -> None:
    # A list, for its answer tells an S3 server from others; its end, for a walk would take long.
    answer = bucket._ask(
        lambda: bucket.client.list_objects_v2(
            Bucket=bucket.name, Prefix=bucket.prefix, Delimiter="/", MaxKeys=1
        )
    )
    if "Name" not in answer:
        raise bucket.place.nonsense()


def _create(bucket: Bucket) -> None:
    try:
        bucket.client.create_bucket(Bucket=bucket.name)
    except ClientError as error:
        # Another process of the stack may have been first.
        if error.response["Error"].get("Code") not in _OURS:
            raise explain(error, bucket.place) from None
