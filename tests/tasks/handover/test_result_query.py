"""A shop is told of every picture once in effect, whatever happens on the way."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, text

from hierdiff_core.errors import InvalidSetting
from tasks.errors import RefusedReceipts, StillAway, UnreachableShop
from tasks.handover import result_query
from tasks.handover.pictures import File, HandedPicture
from tasks.handover.result_query import Told, tell_shop
from tasks.patience import AT_ONCE
from tasks.settings import Settings, read_settings
from tasks.source.database import open_database

UPDATE = "UPDATE products SET image = :url, small = :webp_1200_url WHERE sku = :reference"
INSERT = "INSERT INTO news (sku, image) VALUES (:reference, :url)"


def picture(number: int, sha256: str = "a" * 64) -> HandedPicture:
    base = "https://pictures.example.com"
    files = tuple(
        File(name, f"{name}/{sha256}", f"{base}/{name}/{sha256}{number}", sha256, 1, 8, 8)
        for name in ("", "webp-1200")
    )
    reference = f"SKU-{number}"
    facts = ("run", number, reference, 1, reference, "made", 0, "1", "")
    return HandedPicture(*facts, files)


def pictures(count: int) -> tuple[HandedPicture, ...]:
    return tuple(picture(number) for number in range(1, count + 1))


@pytest.fixture(params=["postgresql", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A shop of five products, on each kind of database."""
    if request.param == "sqlite":
        (tmp_path / "shop.db").touch()
        url = f"sqlite:///{tmp_path / 'shop.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE products (sku TEXT UNIQUE, image TEXT, small TEXT)"))
        connection.execute(text("CREATE TABLE news (sku TEXT, image TEXT)"))
        for number in range(1, 6):
            connection.execute(
                text("INSERT INTO products (sku) VALUES (:s)"), {"s": f"SKU-{number}"}
            )
    yield engine
    engine.dispose()


def settings_for(shop: Engine, query: str = UPDATE, **changed: object) -> Settings:
    url = SecretStr(shop.url.render_as_string(hide_password=False))
    given = {"result_url": url, "result_query": query, "patience_seconds": 0.0}
    given |= {"public_url": "https://pictures.example.com"}
    return read_settings(**given | changed)


def tell(shop: Engine, count: int = 5, query: str = UPDATE) -> Told:
    return tell_shop(settings_for(shop, query), "shop", pictures(count), AT_ONCE)


def rows(shop: Engine, query: str) -> list[tuple[object, ...]]:
    with shop.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_each_picture_is_written_and_the_next_time_none(shop: Engine) -> None:
    assert tell(shop) == Told(5, 0)
    assert tell(shop) == Told(0, 5)
    written = rows(shop, "SELECT sku, image, small FROM products ORDER BY sku")
    assert written == [
        (each.reference, each.files[0].url, each.files[1].url) for each in pictures(5)
    ]


def test_a_statement_that_adds_a_row_adds_it_once(shop: Engine) -> None:
    for _ in range(3):
        tell(shop, query=INSERT)
    assert rows(shop, "SELECT sku FROM news ORDER BY sku") == [(f"SKU-{n}",) for n in range(1, 6)]


def test_a_picture_that_has_changed_is_told_anew_and_no_other(shop: Engine) -> None:
    tell(shop)
    changed = (picture(1, "b" * 64), *pictures(5)[1:])
    assert tell_shop(settings_for(shop), "shop", changed, AT_ONCE) == Told(1, 4)
    # What the statement does not name is no change.
    kept = tuple(replace(each, made="kept", run="another") for each in changed)
    assert tell_shop(settings_for(shop), "shop", kept, AT_ONCE) == Told(0, 5)


def test_a_reference_that_the_shop_lacks_is_named_and_told_once_it_is_there(shop: Engine) -> None:
    assert tell(shop, 6) == Told(5, 0, ("SKU-6",))
    with shop.begin() as connection:
        connection.execute(text("INSERT INTO products (sku) VALUES ('SKU-6')"))
    assert tell(shop, 6) == Told(1, 5)


def test_one_that_the_shop_refuses_is_named_and_costs_no_other(shop: Engine) -> None:
    clash = (
        "UPDATE products SET sku = CASE sku WHEN 'SKU-3' THEN 'SKU-1' ELSE sku END, image = :url"
    )
    told = tell(shop, query=f"{clash} WHERE sku = :reference")
    assert (told.written, [name for name, _ in told.refused]) == (4, ["SKU-3"])
    assert "unique" in told.refused[0][1].lower()
    assert len(rows(shop, "SELECT sku FROM products WHERE image IS NOT NULL")) == 4


def test_a_dry_run_counts_and_writes_nothing(shop: Engine) -> None:
    asked = settings_for(shop)
    assert tell_shop(asked, "shop", pictures(5), AT_ONCE, dry_run=True) == Told(5, 0)
    assert rows(shop, "SELECT sku FROM products WHERE image IS NOT NULL") == []
    tell(shop, 3)
    assert tell_shop(asked, "shop", pictures(5), AT_ONCE, dry_run=True) == Told(2, 3)


def test_a_dry_run_counts_pictures_whose_renditions_are_yet_to_be_made(shop: Engine) -> None:
    bare = tuple(replace(each, files=each.files[:1]) for each in pictures(5))
    asked = settings_for(shop, renditions="webp 1200px")
    assert tell_shop(asked, "shop", bare, AT_ONCE, dry_run=True) == Told(5, 0)
    with pytest.raises(InvalidSetting, match="webp_1200_url"):
        tell_shop(settings_for(shop), "shop", bare, AT_ONCE, dry_run=True)


def test_a_process_that_dies_at_any_statement_writes_each_row_once(
    shop: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_query, "_AT_ONCE", 2)
    for last in itertools.count():
        done = itertools.count()

        def dies(*_: object, last: int = last, done: Iterator[int] = done) -> None:
            if next(done) == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):

            def dying(url: str, setting: str, dies: Any = dies) -> Engine:
                engine = open_database(url, setting)
                event.listen(engine, "after_cursor_execute", dies)
                event.listen(engine, "commit", dies)
                return engine

            patch.setattr(result_query, "open_database", dying)
            tell(shop, query=INSERT)
            break
    assert last > 5
    assert rows(shop, "SELECT sku FROM news ORDER BY sku") == [(f"SKU-{n}",) for n in range(1, 6)]


def test_two_at_once_write_each_row_once(shop: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    write, first = result_query._write, [True]

    def behind(connection: Connection, *given: object) -> Told:
        known = result_query._receipts(connection, given[1])
        if first and shop.dialect.name == "postgresql":
            first.clear()
            assert tell(shop, query=INSERT) == Told(5, 0)
            monkeypatch.setattr(result_query, "_receipts", lambda *_: known)
        return write(connection, *given)

    monkeypatch.setattr(result_query, "_write", behind)
    with contextlib.suppress(UnreachableShop):
        tell(shop, query=INSERT)
    monkeypatch.undo()
    tell(shop, query=INSERT)
    assert rows(shop, "SELECT sku FROM news ORDER BY sku") == [(f"SKU-{n}",) for n in range(1, 6)]


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("UPDATE products SET image = 1", "name what it is given"),
        ("UPDATE products SET image = :adress", "it names :adress; there are catalogue, reference"),
        ("UPDATE products SET image = :jpeg_url", "it names :jpeg_url"),
    ],
)
def test_a_statement_that_cannot_be_meant_is_refused(query: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "shop.db").touch()
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with pytest.raises(InvalidSetting, match=hint):
        tell(engine, query=query)


def test_links_that_end_are_not_written_into_a_shop(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with pytest.raises(InvalidSetting, match="set HIERDIFF_PUBLIC_URL"):
        tell_shop(settings_for(engine, public_url=None), "shop", pictures(1), AT_ONCE)


def test_a_shop_that_is_away_is_named_without_its_password() -> None:
    engine = create_engine("postgresql+psycopg://writer:hush@127.0.0.1:9/shop")
    with pytest.raises((UnreachableShop, StillAway), match="HIERDIFF_RESULT_URL") as caught:
        tell(engine)
    assert "hush" not in str(caught.value)


def test_an_account_that_may_make_no_table_is_told_which_it_needs(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop.db").touch()
    (tmp_path / "shop.db").chmod(0o400)
    engine = create_engine(f"sqlite:///file:{tmp_path / 'shop.db'}?mode=ro&uri=true")
    with pytest.raises(RefusedReceipts, match="CREATE TABLE hierdiff_receipts"):
        tell(engine)
