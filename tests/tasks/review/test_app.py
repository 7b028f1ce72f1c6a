"""The page of a review answers who has its link, on this machine, and nobody else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from tasks.ledger import find_verdicts
from tasks.object_keys import picture_key
from tasks.review.app import Review, make_app
from tasks.review.night import read_night
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import StoredNight, finish, plan_night

HOME = "http://127.0.0.1:8123"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


@pytest.fixture
def night(stores: Stores) -> StoredNight:
    finish(stores, plan_night(stores, (1, 2, 3), 0))
    made = plan_night(stores, (1, 2, 4), 1)
    finish(stores, made)
    return made


@pytest.fixture
def page(stores: Stores, night: StoredNight) -> Iterator[TestClient]:
    app = make_app(Review(stores, read_night(stores, night.run), "ann"), "secret")
    with TestClient(app, base_url=HOME) as client:
        yield client


@pytest.fixture
def inside(page: TestClient) -> TestClient:
    assert page.get("/?token=secret").status_code == 200
    return page


def said(client: TestClient, **changed: object) -> dict[str, object]:
    """Return the body of a verdict on the first picture."""
    first = client.get("/night").json()["pictures"][0]
    return {"name": first[1][0], "picture": first[0], "verdict": "accepted"} | changed


@pytest.mark.parametrize("path", ["/", "/night", "/small/0", "/?token=wrong", "/?token=%ff"])
def test_who_does_not_have_the_link_sees_nothing(page: TestClient, path: str) -> None:
    answer = page.get(path)
    assert answer.status_code == 403
    assert "SKU" not in answer.text
    assert page.post("/verdicts", json={}, headers={"Origin": HOME}).status_code == 403


def test_the_token_is_kept_where_no_script_and_no_other_site_reads_it(page: TestClient) -> None:
    answer = page.get("/?token=secret")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secret" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert page.get("/night").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example"])
def test_another_name_for_this_machine_is_refused(inside: TestClient, host: str) -> None:
    answer = inside.get("/night?token=secret", headers={"Host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999"])
def test_another_page_writes_no_verdict(
    inside: TestClient, stores: Stores, origin: str | None
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert inside.post("/verdicts", json=said(inside), headers=headers).status_code == 403
    with stores.session() as session:
        assert session.execute(text("SELECT count(*) FROM verdicts")).scalar_one() == 0


def test_a_verdict_is_a_row_at_once_and_the_page_shows_it_again(
    inside: TestClient, stores: Stores
) -> None:
    body = said(inside, verdict="rejected", reason=f" two\nhandles\0 {SCRIPT}")
    answer = inside.post("/verdicts", json=body, headers={"Origin": HOME})
    assert answer.status_code == 200
    reason = f"two handles\\x00 {SCRIPT}"
    line = inside.get("/night").json()["pictures"][0]
    assert line[-3:] == ["rejected", reason, "ann"]
    more = inside.get(f"/pictures/{line[0]}").json()
    assert [(each["verdict"], each["reason"]) for each in more["history"]] == [("rejected", reason)]
    with stores.session() as session:
        digests = session.execute(text("SELECT sha256 FROM verdicts")).scalars().all()
        assert find_verdicts(session, "shop", digests)[digests[0]].reviewer == "ann"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"picture": "0" * 16}, 404),
        ({"name": "SKU-99"}, 409),
        ({"verdict": "perhaps"}, 422),
        ({"verdict": None}, 422),
    ],
)
def test_a_verdict_that_means_no_picture_is_refused(
    inside: TestClient, changed: dict[str, object], status: int
) -> None:
    answer = inside.post("/verdicts", json=said(inside, **changed), headers={"Origin": HOME})
    assert answer.status_code == status


def test_pictures_come_by_their_content_and_nothing_else_of_the_bucket_does(
    inside: TestClient, stores: Stores
) -> None:
    lines = inside.get("/night").json()["pictures"]
    kept = {line[1][0]: bool(line[4]) for line in lines}
    assert kept == {"SKU-1": True, "SKU-2": True, "SKU-4": False}
    for line in lines:
        body = inside.get(f"/full/{line[0]}").content
        digest = hashlib.sha256(body).hexdigest()
        assert digest.startswith(line[0])
        assert body == stores.bucket.get(picture_key(digest))
        assert inside.get(f"/small/{line[0]}").headers["content-type"] == "image/webp"
    for path in ("/full/../../manifests/x.json", "/full/" + "f" * 16, "/full/%2e%2e%2fx"):
        assert inside.get(path).status_code == 404
    assert inside.get("/previews/999").status_code == 404


def test_a_picture_tells_its_way_its_siblings_and_what_it_was_the_night_before(
    inside: TestClient, stores: Stores
) -> None:
    line = inside.get("/night").json()["pictures"][0]
    more = inside.get(f"/pictures/{line[0]}").json()
    assert more["path"][-1]["stop"] == 8
    assert more["path"][-1]["pictures"] == 1
    assert more["before"] in ("same", "")
    assert len(more["siblings"]) == (more["path"][-2]["pictures"] - 1 if more["shared"] else 0)


def test_the_page_runs_no_script_and_no_style_but_its_own(inside: TestClient) -> None:
    answer = inside.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://", answer.text.replace("http://www.w3.org", ""))


def test_what_the_catalogue_is_called_is_shown_and_never_run(
    stores: Stores, settings: Settings
) -> None:
    made = plan_night(stores, (1,), 0, SCRIPT)
    finish(stores, made)
    app = make_app(Review(stores, read_night(stores, made.run), SCRIPT), "secret")
    with TestClient(app, base_url=HOME) as client:
        page = client.get("/?token=secret").text
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)" in page
