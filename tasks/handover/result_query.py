"""The result query: a statement of the user's, run once for each picture on the shop's database.

With the statement's effect a receipt is written, in the same transaction: it says which picture was
told in which words. So every picture is told once in effect, whenever this is killed, and again
only when something that the statement names has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    MetaData,
    String,
    Table,
    TextClause,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from hierdiff_core.digest import digest
from hierdiff_core.errors import InvalidSetting
from tasks.database import reason, safe_url
from tasks.errors import RefusedReceipts, UnreachableShop
from tasks.handover.pictures import HandedPicture
from tasks.patience import Patience
from tasks.settings import Settings
from tasks.source.database import open_database

RECEIPTS = Table(
    "hierdiff_receipts",
    MetaData(),
    Column("picture", String(64), primary_key=True),  # a digest of catalogue and name
    Column("said", String(64), nullable=False),  # a digest of the statement and what it was given
    Column("written_at", DateTime, server_default=func.now(), nullable=False),
)
_AT_ONCE = 100  # pictures of a transaction
_OF_PICTURE = ("reference", "number", "name", "row", "made", "seed", "revision", "verdict", "run")
_OF_FILE = ("object", "url", "sha256", "bytes", "width", "height")
_PASSING = ("08", "40", "57P")  # beginnings of SQL states that another try may not meet


@dataclass(frozen=True)
class Told:
    """What a shop was told, or would be."""

    written: int  # pictures
    unchanged: int  # that it was told before
    unmatched: tuple[str, ...] = ()  # names that no row of the shop has
    refused: tuple[tuple[str, str], ...] = ()  # names, and why the shop refused them

    def __add__(self, other: Told) -> Told:
        return Told(
            self.written + other.written,
            self.unchanged + other.unchanged,
            self.unmatched + other.unmatched,
            self.refused + other.refused,
        )


@dataclass(frozen=True)
class ShopRow:
    """What is said of one picture."""

    name: str
    picture: str
    said: str
    values: Mapping[str, object]


class _ToldMeanwhile(Exception):
    """Somebody else has told the shop of a picture since it was looked up."""


def tell_shop(
    settings: Settings,
    catalogue: str,
    pictures: Sequence[HandedPicture],
    patience: Patience,
    *,
    dry_run: bool = False,
) -> Told:
    """Run the result query for each picture that the shop was not told of in these words.

    A picture that the shop refuses is named, and costs no other one. A dry run reads the receipts
    and writes nothing. Raises InvalidSetting, UnreachableShop, RefusedReceipts, StillAway.
    """
    statement, lines = prepare(settings, catalogue, pictures, _unmade(settings) if dry_run else {})
    url = settings.result_url or settings.source_url
    if url is None:
        raise InvalidSetting(setting="result_url", value=None, hint="name the shop's database")
    engine = open_database(url.get_secret_value(), "result_url")
    lasting = Patience(settings.patience_seconds)
    try:
        there = patience.outlast(lambda: _make_receipts(engine, make=not dry_run))
        told = Told(0, 0)
        for first in range(0, len(lines), _AT_ONCE):
            lot = lines[first : first + _AT_ONCE]
            if dry_run:
                told += _count(engine, lot, there)
            else:
                told += _tell(engine, statement, lot, lasting)
        return told
    finally:
        engine.dispose()


def prepare(
    settings: Settings,
    catalogue: str,
    pictures: Sequence[HandedPicture],
    unmade: Mapping[str, object],
) -> tuple[TextClause, list[ShopRow]]:
    """Return the statement and what it is given; raises InvalidSetting for a name it lacks.

    `unmade` are values that stand in for those of files that a picture has not got yet.
    """
    query = settings.result_query or ""
    statement = text(query)
    names = sorted(statement.compile().params)
    if not names:
        raise _refused(query, "name what it is given, as `SET image = :url WHERE id = :reference`")
    if not settings.public_url and any(name == "url" or name.endswith("_url") for name in names):
        raise _refused(query, "set HIERDIFF_PUBLIC_URL: only links below it work for good")
    lines = []
    for picture in pictures:
        known = {**unmade, **values_of(catalogue, picture)}
        if missing := [name for name in names if name not in known]:
            raise _refused(query, f"it names :{missing[0]}; there are {', '.join(known)}")
        values = {name: known[name] for name in names}
        whose = digest("told picture", catalogue, picture.name)
        lines.append(ShopRow(picture.name, whose, digest("told", query, values), values))
    return statement, lines


def values_of(catalogue: str, picture: HandedPicture) -> dict[str, object]:
    """Return all that a statement may name of a picture: `url`, and `webp_1200_url`."""
    values: dict[str, object] = {"catalogue": catalogue}
    values |= {name: getattr(picture, name) for name in _OF_PICTURE}
    for file in picture.files:
        values |= {_parameter(file.rendition, name): getattr(file, name) for name in _OF_FILE}
    return values


def _unmade(settings: Settings) -> dict[str, object]:
    """Return values of the renditions that are asked for, which a dry run does not make."""
    asked = settings.wanted_renditions
    return {_parameter(each.name, name): None for each in asked for name in _OF_FILE}


def _parameter(rendition: str, name: str) -> str:
    return f"{rendition.replace('-', '_')}_{name}" if rendition else name


def _tell(
    engine: Engine, statement: TextClause, lot: Sequence[ShopRow], patience: Patience
) -> Told:
    """Tell the shop of some pictures in one transaction; where it refuses one, of each alone."""

    def write() -> Told:
        with engine.begin() as connection:
            return _write(connection, statement, lot)

    try:
        return patience.outlast(lambda: _trying(engine, write))
    except DBAPIError as error:
        if len(lot) == 1:
            return Told(0, 0, (), ((lot[0].name, reason(error, engine.url)),))
    return sum((_tell(engine, statement, [each], patience) for each in lot), Told(0, 0))


def _trying(engine: Engine, call: Callable[[], Told]) -> Told:
    """Make a call; raises UnreachableShop for what another try may not meet."""
    try:
        return call()
    except _ToldMeanwhile:
        why = "another process is telling it of the same pictures"
        raise UnreachableShop(url=safe_url(engine.url), reason=why) from None
    except DBAPIError as error:
        if _passes(error):
            said = reason(error, engine.url)
            raise UnreachableShop(url=safe_url(engine.url), reason=said) from None
        raise


def _passes(error: DBAPIError) -> bool:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    away = error.connection_invalidated or error.statement is None
    return away or state.startswith(_PASSING) or "database is locked" in str(error.orig)


def _write(connection: Connection, statement: TextClause, lot: Sequence[ShopRow]) -> Told:
    known = _receipts(connection, lot)
    unmatched, written = [], 0
    for line in lot:
        if known.get(line.picture) == line.said:
            continue
        # First the statement: a picture that matches nothing is tried again on the next night.
        if connection.execute(statement, line.values).rowcount == 0:
            unmatched.append(line.name)
            continue
        _note(connection, line, known.get(line.picture))
        written += 1
    return Told(written, len(lot) - written - len(unmatched), tuple(unmatched))


def _note(connection: Connection, line: ShopRow, before: str | None) -> None:
    """Write a receipt in place of the one that was read; raises _ToldMeanwhile if it is another."""
    if before is None:
        try:
            connection.execute(insert(RECEIPTS).values(picture=line.picture, said=line.said))
        except IntegrityError:
            raise _ToldMeanwhile from None
        return
    mine = (RECEIPTS.c.picture == line.picture, RECEIPTS.c.said == before)
    new = update(RECEIPTS).where(*mine).values(said=line.said, written_at=func.now())
    if connection.execute(new).rowcount != 1:
        raise _ToldMeanwhile


def _receipts(connection: Connection, lot: Sequence[ShopRow]) -> dict[str, str]:
    of_these = RECEIPTS.c.picture.in_([line.picture for line in lot])
    rows = connection.execute(select(RECEIPTS.c.picture, RECEIPTS.c.said).where(of_these))
    return {row.picture: row.said for row in rows}


def _count(engine: Engine, lot: Sequence[ShopRow], there: bool) -> Told:
    """Return what would be told, as far as receipts say."""
    if not there:
        return Told(len(lot), 0)
    with engine.connect() as connection:
        known = _receipts(connection, lot)
    unchanged = sum(known.get(line.picture) == line.said for line in lot)
    return Told(len(lot) - unchanged, unchanged)


def _make_receipts(engine: Engine, *, make: bool) -> bool:
    """Return whether there is a table of receipts, made where it was missing."""
    where = {"url": safe_url(engine.url)}
    try:
        if not make:
            return inspect(engine).has_table(RECEIPTS.name)
        RECEIPTS.create(engine, checkfirst=True)
        return True
    except DBAPIError as error:
        if _passes(error):
            raise UnreachableShop(**where, reason=reason(error, engine.url)) from None
        if inspect(engine).has_table(RECEIPTS.name):  # another process was first
            return True
        raise RefusedReceipts(**where, reason=reason(error, engine.url)) from None


def _refused(query: str, hint: str) -> InvalidSetting:
    return InvalidSetting(setting="result_query", value=query, hint=hint)
