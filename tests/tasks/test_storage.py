"""Objects come back as they were put, damage is noticed, and no secret shows."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pydantic import SecretStr

from hierdiff_core.errors import InvalidSetting
from tasks.errors import (
    CorruptObject,
    MissingBucket,
    MissingObject,
    RefusedByStorage,
    UnreachableStorage,
)
from tasks.settings import Settings
from tasks.storage import Bucket, connect_bucket
from tests.servers import S3Server, s3_settings


def test_an_object_comes_back_as_it_was_put(bucket: Bucket) -> None:
    body = bytes(range(256)) * 4
    sha256 = bucket.put("checkpoints/a.safetensors", body)
    assert sha256 == hashlib.sha256(body).hexdigest()
    assert bucket.get("checkpoints/a.safetensors", sha256) == body
    bucket.put("checkpoints/a.safetensors", b"")
    assert bucket.get("checkpoints/a.safetensors") == b""


def test_damage_is_noticed(bucket: Bucket) -> None:
    sha256 = bucket.put("a", b"whole")
    bucket.put("a", b"broken")
    with pytest.raises(CorruptObject, match=rf"Object a .* not {sha256}"):
        bucket.get("a", sha256)


def test_a_missing_object_is_named(bucket: Bucket) -> None:
    assert not bucket.exists("images/a.png")
    with pytest.raises(MissingObject, match=r"images/a\.png"):
        bucket.get("images/a.png")
    bucket.put("images/a.png", b"a")
    assert bucket.exists("images/a.png")
    bucket.delete("images/a.png")
    bucket.delete("images/a.png")
    assert not bucket.exists("images/a.png")


def test_keys_are_listed_by_prefix_and_in_order(bucket: Bucket) -> None:
    for key in ("images/b", "images/a", "reports/a"):
        bucket.put(key, b"")
    assert list(bucket.list("images/")) == ["images/a", "images/b"]
    assert len(list(bucket.list())) == 3
    assert list(bucket.list("none")) == []


def test_more_keys_than_one_page_are_all_listed(bucket: Bucket) -> None:
    keys = [f"k/{number:04}" for number in range(1_030)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: bucket.put(key, b""), keys))
    assert list(bucket.list("k/")) == keys


def test_a_prefix_keeps_two_users_of_a_bucket_apart(bucket: Bucket) -> None:
    mine = replace(bucket, prefix="mine/")
    mine.put("a", b"1")
    assert list(mine.list()) == ["a"]
    assert list(bucket.list()) == ["mine/a"]
    assert not replace(bucket, prefix="yours/").exists("a")


@pytest.mark.parametrize("prefix", ["nightly", "/nightly/", "nightly/"])
def test_a_prefix_is_a_folder_however_it_is_written(
    s3_server: S3Server, bucket: Bucket, prefix: str
) -> None:
    settings = s3_settings(s3_server, name=bucket.name).model_copy(update={"s3_prefix": prefix})
    assert connect_bucket(settings).prefix == "nightly/"


def test_threads_share_a_bucket(bucket: Bucket) -> None:
    def there_and_back(number: int) -> bool:
        body = bytes([number]) * 50_000
        return bucket.get(f"k/{number}", bucket.put(f"k/{number}", body)) == body

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(there_and_back, range(64)))


def test_a_signed_link_opens_without_an_account_and_holds_no_secret(
    s3_server: S3Server, bucket: Bucket
) -> None:
    bucket.put("images/ä & b.png", b"picture", "image/png")
    link = bucket.presigned_url("images/ä & b.png", seconds=60)
    assert s3_server.secret_key not in link
    with urllib.request.urlopen(link) as reply:
        assert reply.read() == b"picture"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(link.split("?")[0])


def test_a_bucket_that_does_not_exist_is_made_for_the_stack_only(s3_server: S3Server) -> None:
    settings = s3_settings(s3_server)
    with pytest.raises(MissingBucket, match=settings.s3_bucket):
        connect_bucket(settings)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: connect_bucket(settings, create=True), range(4)))
    made[0].put("a", b"a")
    assert made[3].get("a") == b"a"
    made[0].delete("a")
    made[0].client.delete_bucket(Bucket=settings.s3_bucket)


def test_a_bucket_that_vanishes_is_named(bucket: Bucket) -> None:
    gone = replace(bucket, name="no-such-bucket")
    with pytest.raises((MissingBucket, MissingObject), match="no-such-bucket"):
        gone.get("a")
    with pytest.raises(MissingBucket, match="no-such-bucket"):
        gone.put("a", b"")


def test_a_wrong_account_is_one_line_without_the_secret(
    s3_server: S3Server, bucket: Bucket
) -> None:
    wrong = {"s3_secret_key": SecretStr("hush-hush")}
    settings = s3_settings(s3_server, name=bucket.name).model_copy(update=wrong)
    with pytest.raises(RefusedByStorage, match=bucket.name) as caught:
        connect_bucket(settings)
    assert "hush" not in str(caught.value) + repr(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_one_line_with_its_address() -> None:
    settings = Settings(
        s3_endpoint_url="http://127.0.0.1:1",
        s3_access_key=SecretStr("key"),
        s3_secret_key=SecretStr("hush"),
    )
    with pytest.raises(UnreachableStorage, match=r"http://127\.0\.0\.1:1") as caught:
        connect_bucket(settings)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_no_account_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(RefusedByStorage, match="check the AWS credentials"):
        connect_bucket(Settings(s3_endpoint_url="http://127.0.0.1:1"))


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="HIERDIFF_S3_ENDPOINT_URL"):
        connect_bucket(Settings(s3_endpoint_url="nowhere"))


def test_a_bucket_shows_no_secret(s3_server: S3Server, bucket: Bucket) -> None:
    assert s3_server.secret_key not in repr(bucket)
    assert s3_server.secret_key not in str(bucket)
