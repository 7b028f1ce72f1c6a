"""Embeddings are kept under their key, the first one counts, and a damaged one is replaced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, update

from tasks.database import session_scope
from tasks.ledger import (
    StoredEmbedding,
    find_embeddings,
    lose_embeddings,
    lost_embeddings,
    store_embeddings,
)
from tasks.records import EmbeddingRow


def _find(database: Engine, *keys: str) -> dict[str, bytes]:
    with session_scope(database) as session:
        return {key: row.content for key, row in find_embeddings(session, keys).items()}


def _store(database: Engine, contents: dict[str, bytes]) -> None:
    with session_scope(database) as session:
        store_embeddings(session, {key: StoredEmbedding(body) for key, body in contents.items()})


def test_only_known_keys_are_found(database: Engine) -> None:
    _store(database, {"a": b"\x00\xff", "b": b""})
    assert _find(database, "a", "b", "c") == {"a": b"\x00\xff", "b": b""}
    assert _find(database) == {}


def test_the_first_embedding_under_a_key_stays(database: Engine) -> None:
    _store(database, {"a": b"first"})
    _store(database, {"a": b"second", "b": b"new"})
    assert _find(database, "a", "b") == {"a": b"first", "b": b"new"}


def test_storing_nothing_is_nothing(database: Engine) -> None:
    _store(database, {})


def test_a_damaged_embedding_counts_as_unknown_and_is_replaced(
    database: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    _store(database, {"a": b"whole", "b": b"other"})
    with session_scope(database) as session:
        session.execute(
            update(EmbeddingRow).where(EmbeddingRow.key == "a").values(content=b"broken")
        )
    assert _find(database, "a", "b") == {"b": b"other"}
    assert "Embedding a" in caplog.text
    _store(database, {"a": b"whole again"})
    assert _find(database, "a") == {"a": b"whole again"}


def test_an_embedding_whose_object_is_lost_counts_as_lost_until_it_is_stored_again(
    database: Engine,
) -> None:
    whole, other = StoredEmbedding(b"vector", "0a", 7), StoredEmbedding(b"vector", "0b", 8)
    with session_scope(database) as session:
        store_embeddings(session, {"a": whole, "b": whole})
        lose_embeddings(session, {"a": "0a", "b": "of another one"})
    with session_scope(database) as session:
        assert lost_embeddings(session, ["a", "b"]) == {"a"}
        assert find_embeddings(session, ["a", "b"]) == {"b": whole}
        store_embeddings(session, {"a": other, "b": other})
    with session_scope(database) as session:
        assert find_embeddings(session, ["a", "b"]) == {"a": other, "b": whole}


def test_nights_that_store_the_same_keys_do_not_block_each_other(database: Engine) -> None:
    keys = [f"key-{number}" for number in range(300)]
    orders = [keys, keys[::-1]] * 3
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda o: _store(database, dict.fromkeys(o, b"same")), orders))
    assert len(_find(database, *keys)) == 300


def test_tens_of_thousands_of_keys_are_asked_for_at_once(database: Engine) -> None:
    assert _find(database, *(f"key-{number}" for number in range(70_000))) == {}
