"""The two stores of a night, opened together: the ledger's database and the object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tasks.database import check_schema, connect, session_scope
from tasks.settings import Settings
from tasks.storage import Bucket, connect_bucket


@dataclass(frozen=True)
class Stores:
    """Open connections; threads may share them."""

    engine: Engine
    bucket: Bucket

    def session(self) -> AbstractContextManager[Session]:
        """Return a session in one transaction."""
        return session_scope(self.engine)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Yield a session that sees the ledger as it was at its first statement, to read only."""
        with self.session() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session


@contextmanager
def open_stores(settings: Settings) -> Iterator[Stores]:
    """Yield both stores, tried once, and close them at the end.

    Raises NoStack, UnreachableDatabase, OutdatedSchema, MissingBucket, UnreachableStorage.
    """
    engine = connect(settings)
    try:
        check_schema(engine)
        yield Stores(engine, connect_bucket(settings))
    finally:
        engine.dispose()
