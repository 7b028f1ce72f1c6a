"""Where secrets may have got to: texts, tables of a database, objects of a bucket."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from tasks.storage import Bucket

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def in_text(place: str, text: bytes, secrets: Mapping[str, str]) -> set[str]:
    """Return which secrets stand in a text."""
    return {f"{name} in {place}" for name, secret in secrets.items() if secret.encode() in text}


def in_tables(url: str, secrets: Mapping[str, str]) -> set[str]:
    """Return which secret lies in which table of a PostgreSQL database."""
    found: set[str] = set()
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute(_TABLES).fetchall():
            copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
            with connection.cursor().copy(copy) as rows:
                found |= in_text(table, b"".join(rows), secrets)
    return found


def in_objects(bucket: Bucket, secrets: Mapping[str, str]) -> set[str]:
    """Return which secret lies in which object of a bucket."""
    keys = list(bucket.list())
    return {each for key in keys for each in in_text(key, bucket.get(key), secrets)}
