"""The two stores of a night, opened together: the ledger's database and the object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tasks.database import check_schema, connect, session_scope
from tasks.patience import AT_ONCE, Patience
from tasks.settings import Settings
from tasks.storage import Bucket, connect_bucket


@dataclass(frozen=True)
class Stores:
    """Open connections; threads may share them."""

    engine: Engine
    bucket: Bucket
    patience: Patience = AT_ONCE

    def session(self) -> AbstractContextManager[Session]:
        """Return a session in one transaction, which begins once the database answers."""
        return session_scope(self.engine, self.patience)

    @property
    def at_once(self) -> Stores:
        """The same stores for who does not wait for the database."""
        return replace(self, patience=AT_ONCE)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Yield a session that sees the ledger as it was at its first statement, to read only."""
        with self.session() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session


@contextmanager
def open_stores(settings: Settings) -> Iterator[Stores]:
    """Yield both stores, tried once, and close them at the end.

    Raises NoStack, UnreachableDatabase, OutdatedSchema, MissingBucket, UnreachableStorage,
    RefusedByStorage.
    """
    with _opened(settings, AT_ONCE) as stores:
        yield stores


@contextmanager
def open_patiently(settings: Settings) -> Iterator[Stores]:
    """Yield both stores for a night, which waits for one that is away, now or later.

    Raises as `open_stores` does, and StillAway after HIERDIFF_PATIENCE_SECONDS.
    """
    with _opened(settings, Patience(settings.patience_seconds)) as stores:
        yield stores


@contextmanager
def _opened(settings: Settings, patience: Patience) -> Iterator[Stores]:
    engine = patience.outlast(lambda: connect(settings))
    try:
        patience.outlast(lambda: check_schema(engine))
        bucket = patience.outlast(lambda: connect_bucket(settings, patience=patience))
        yield Stores(engine, bucket, patience)
    finally:
        engine.dispose()
