"""What an object store's refusal means, and which setting is to blame for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from hierdiff_core.errors import HierdiffError
from tasks.addresses import without_accounts
from tasks.errors import MissingBucket, MissingObject, RefusedByStorage, UnreachableStorage

# boto3 looks for the region of a bucket that redirects again and again: RecursionError.
FAULTS = (BotoCoreError, ClientError, RecursionError, ResponseParserError)

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_ADDRESS = "check HIERDIFF_S3_ENDPOINT_URL"
_AWAY = f"check that it runs, and {_ADDRESS.removeprefix('check ')}"
_BUSY = "its own log says why, often a full disk or too much at once"
_ACCOUNT = (
    CredentialRetrievalError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
_LINE = (ConnectionError, HTTPClientError, IncompleteReadError)
_REQUEST = "x-amz-request-id"  # a header that every S3 server sends
_LATER = frozenset({"RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"})


@dataclass(frozen=True)
class Place:
    """Where an object store is, for people."""

    bucket: str
    endpoint: str
    account: str = "the AWS credentials"  # where its credentials come from
    proven: bool = False  # whether it has answered as an S3 server before

    def unreachable(self, reason: object, hint: str, did: str = "does not answer") -> HierdiffError:
        """Return the error of a store that may be back later."""
        return UnreachableStorage(**self._facts(reason, hint), did=did)

    def refused(self, reason: object, hint: str) -> HierdiffError:
        """Return the error of a store that will not answer otherwise later."""
        return RefusedByStorage(**self._facts(reason, hint))

    def nonsense(
        self, reason: str = "it answers as no S3 server does", hint: str = _ADDRESS
    ) -> HierdiffError:
        """Return the error of an answer that no object store gives.

        Where it is proven, something else answers in its place for a while.
        """
        if self.proven:
            return self.unreachable(reason, _AWAY, "is hidden by another server")
        return self.refused(reason, hint)

    def missing(self) -> HierdiffError:
        """Return the error of a bucket that is not there."""
        return MissingBucket(bucket=self.bucket, endpoint=self.endpoint)

    def _facts(self, reason: object, hint: str) -> dict[str, object]:
        line = without_accounts(" ".join(str(reason).split()))
        return {"bucket": self.bucket, "endpoint": self.endpoint, "reason": line, "hint": hint}


def explain(error: Exception, place: Place, key: str = "") -> HierdiffError:
    """Return what one of FAULTS means; of an object's `key` where one was asked for."""
    if isinstance(error, ClientError):
        return _explain_answer(error, place, key)
    if isinstance(error, RecursionError):
        return place.nonsense("it redirects every request")
    if isinstance(error, _ACCOUNT):
        return place.refused(error, f"check {place.account}")
    if isinstance(error, SSLError):
        return place.refused(error, f"{_ADDRESS} (http or https?) and the server's certificate")
    if isinstance(error, ProxyConnectionError):
        return place.unreachable(error, "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
    if isinstance(error, _LINE):
        return place.unreachable(error, _AWAY)
    if isinstance(error, ParamValidationError):
        return place.refused(error, "check HIERDIFF_S3_BUCKET")
    return place.nonsense()


def _explain_answer(error: ClientError, place: Place, key: str) -> HierdiffError:
    code = error.response.get("Error", {}).get("Code", "")
    about = error.response.get("ResponseMetadata", {})
    status, headers = int(about.get("HTTPStatusCode", 0)), about.get("HTTPHeaders", {})
    if key and code in ABSENT:
        return MissingObject(key=key, bucket=place.bucket)
    if code == "NoSuchBucket":
        return place.missing()
    if status >= 500 or status == 429 or code in _LATER:
        return place.unreachable(error, _hint(status, headers), "answers with an error")
    if 300 <= status < 400:
        return place.nonsense(f"it redirects, status {status}", f"{_ADDRESS} and AWS_REGION")
    if status in (401, 403):
        hint = f"check {place.account}, and what they may do with HIERDIFF_S3_BUCKET"
        return place.refused(error, hint)
    return place.refused(error, f"{_ADDRESS} and HIERDIFF_S3_BUCKET")


def _hint(status: int, headers: Mapping[str, str]) -> str:
    if status == 507:
        return "its disk is full"
    # A page that is no XML is an error 500 to boto3; a gateway before a store is no store either.
    return _BUSY if _REQUEST in headers else f"{_BUSY}; where it is no S3 server, {_ADDRESS}"
