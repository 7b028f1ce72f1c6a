"""Every way in which the outside world refuses: one class each, its docstring is the message."""

from __future__ import annotations

from hierdiff_core.errors import HierdiffError


class NoStack(HierdiffError):
    """No database is set and no stack runs in {home}: start `hierdiff standalone`, or set
    HIERDIFF_DATABASE_URL and HIERDIFF_S3_BUCKET."""


class UnknownSetting(HierdiffError):
    """There is no setting {setting}; {hint}"""


class UnreachableDatabase(HierdiffError):
    """Database {url} does not answer ({reason}); check that it runs and that
    HIERDIFF_DATABASE_URL is right."""


class UnreachableShop(UnreachableDatabase):
    """The shop's database {url} does not take HIERDIFF_RESULT_QUERY now ({reason}); check that it
    runs and that HIERDIFF_RESULT_URL is right, then `hierdiff deliver` tells it the rest."""


class RefusedReceipts(HierdiffError):
    """The shop's database {url} refused a table for receipts ({reason}); make it there: CREATE
    TABLE hierdiff_receipts (picture VARCHAR(64) PRIMARY KEY, said VARCHAR(64) NOT NULL, written_at
    TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL), which our account may read and write."""


class ShopRefused(HierdiffError):
    """The shop's database refused {count} pictures: {names}; all others were told. Correct them
    there, then `hierdiff deliver` tells it the rest."""


class RefusedByDatabase(HierdiffError):
    """Database {url} lets nobody in ({reason}); correct HIERDIFF_DATABASE_URL."""


class ForbiddenDatabase(HierdiffError):
    """Database {url} refuses ({reason}); give its role the rights, or have the tables' owner run
    `hierdiff migrate`."""


class OutdatedSchema(HierdiffError):
    """Database {url} is at schema {found}, but this version needs {wanted}; run
    `hierdiff migrate`."""


class NewerSchema(HierdiffError):
    """Database {url} is at schema {found}, which this version does not know (it has {wanted});
    install the version that made it, or a later one."""


class UnreachableSource(HierdiffError):
    """Source {url} does not answer ({reason}); check the address and the account."""


class FailedQuery(HierdiffError):
    """Source {url} refused the query ({reason}); try the query there by hand."""


class UnreadableFile(HierdiffError):
    """File {path} cannot be read: {reason}."""


class BadRow(HierdiffError):
    """Row {row}: {reason}; correct it or drop the row."""


class RepeatedColumn(HierdiffError):
    """Column {column!r} stands in the source more than once ({names}); rename one, or say which is
    meant with --column."""


class UnknownColumn(HierdiffError):
    """Column {column!r}, which the {asker} names, is not in the source: {hint}"""


class TooManyRows(HierdiffError):
    """The source has more than {limit:,} rows; ask for fewer, or raise HIERDIFF_SOURCE_ROWS."""


class EmptyBatch(HierdiffError):
    """There is no usable prompt: {reason}; check the query or the file."""


class BadPlanFile(HierdiffError):
    """Plan {file} cannot be used: {reason}; export it again."""


class UnknownReference(HierdiffError):
    """No picture of tonight is called {names}; name rows by their references, such as A-17, their
    further pictures as A-17#2, or `all`, or `rejected`."""


class NoneRejected(HierdiffError):
    """No picture of catalogue {catalogue!r} is rejected, or each was more than HIERDIFF_REMAKES
    times; reject some with `hierdiff review`, or give --seed, too."""


class UnknownPicture(HierdiffError):
    """Picture {name} cannot be given a verdict: it {missing}; name pictures by their references,
    such as A-17, or A-17#2."""


class ChangedPicture(HierdiffError):
    """Picture {name} is another one by now than the one that was looked at; look at it again."""


class DamagedTuning(HierdiffError):
    """The tuned setting of catalogue {catalogue!r} cannot be read ({reason}); run `hierdiff tune`
    again, or with --forget to remove it."""


class NightTaken(HierdiffError):
    """Night {date} of catalogue {catalogue!r} is being run by {owner}, whose lease lasts
    another {seconds:.0f} s; wait, or cancel that run first."""


class NightLost(HierdiffError):
    """{owner} no longer carries out night {date} of catalogue {catalogue!r}: it was silent for too
    long, and another process took over. What it finished is kept."""


class NightDiffers(HierdiffError):
    """Night {date} of catalogue {catalogue!r} exists and was asked for otherwise ({difference});
    choose another date, or replace it (--replace): it is then made anew, and every picture that
    still fits is kept."""


class UnknownCatalogue(HierdiffError):
    """Catalogue {catalogue!r} is unknown: it has had no night, and no source is set for a first
    one; correct its name, or name rows with --file, --query or HIERDIFF_SOURCE_QUERY."""


class NightReplaced(HierdiffError):
    """Run {run} was replaced by another one of the same night; `hierdiff status` lists it."""


class UnknownRun(HierdiffError):
    """Run {run!r} is not in the database; `hierdiff status` lists the runs."""


class UnknownSubtree(HierdiffError):
    """Run {run} has no subtree {shard}; `hierdiff status` lists its subtrees."""


class UnknownRow(HierdiffError):
    """No night has a row {row!r}; what an interrupted start left is removed by `hierdiff gc` after
    a day."""


class LeaseHeld(HierdiffError):
    """Subtree {shard} of run {run} is being run by {owner}, whose lease lasts another
    {seconds:.0f} s; wait, or cancel that run first."""


class LeaseLost(HierdiffError):
    """{owner} no longer holds subtree {shard} of run {run}; what it finished is kept. Retry the
    subtree for the rest."""


class WorkerStopped(HierdiffError):
    """Its worker was asked to stop. All that it made is stored, and another one goes on from
    there."""


class UnreachableStorage(HierdiffError):
    """Bucket {bucket!r} at {endpoint} {did} ({reason}); {hint}."""


class RefusedByStorage(HierdiffError):
    """Bucket {bucket!r} at {endpoint} cannot be used ({reason}); {hint}."""


class StillAway(HierdiffError):
    """{fault} It was waited for during {seconds:.0f} s (HIERDIFF_PATIENCE_SECONDS); what is stored
    is kept, and a retry makes the rest."""


class MissingBucket(HierdiffError):
    """Bucket {bucket!r} does not exist at {endpoint}; create it or correct HIERDIFF_S3_BUCKET."""


class ForeignNights(HierdiffError):
    """Bucket {bucket!r} has results of {count} nights that this ledger does not know, such as run
    {run}; where another ledger shares the bucket, give each its own HIERDIFF_S3_PREFIX, else say
    --unknown-nights to have them removed as well."""


class MissingObject(HierdiffError):
    """Object {key} is not in bucket {bucket!r}; it will be computed again on the next retry."""


class CorruptObject(HierdiffError):
    """Object {key} in bucket {bucket!r} has sha256 {found}, not {wanted}; it will be computed
    again on the next retry."""


class UnmakeableRendition(HierdiffError):
    """Rendition {rendition} of picture {picture} cannot be made ({reason}); ask for another one in
    HIERDIFF_RENDITIONS."""


class SigningFailed(HierdiffError):
    """A picture could not be signed ({reason}); `hierdiff doctor` tries it by itself."""


class GroundLost(HierdiffError):
    """The plan stands on {count} splits or embeddings that were removed while it was made; the
    night is planned again."""


class LostEmbeddings(HierdiffError):
    """{count} embeddings are lost or damaged; retry the night, which makes them anew first."""

    @property
    def keys(self) -> frozenset[str]:
        """Return their keys."""
        keys = self.facts["keys"]
        return keys if isinstance(keys, frozenset) else frozenset()


class MissingEmbedding(HierdiffError):
    """Embedding {key} is lost, and no night has its prompt any more: its row was forgotten. Nights
    go on without it, but one that stands on it cannot be exported."""


class NoSource(HierdiffError):
    """The night has no prompts and no source: run `hierdiff ingest`, or set HIERDIFF_SOURCE_URL
    and HIERDIFF_SOURCE_QUERY, or HIERDIFF_SOURCE_FILE."""


class PoisonedNight(HierdiffError):
    """Night {date} of catalogue {catalogue!r} took its worker down {crashes} times in a row; check
    the log of the worker of pool `cpu`, then retry it by hand."""


class PoisonedStart(HierdiffError):
    """{deaths} processes of this flow run died in a row before they took its work up; check the
    log of the worker (its Python, its driver, its memory), then retry it by hand."""


class RowsSetAside(HierdiffError):
    """{count} rows were set aside without a picture, all others have theirs: {rows}. A retry tries
    them again, up to {most} times in all; correct or drop them for the next night."""


class PoisonedSubtree(HierdiffError):
    """Subtree {shard} of run {run} took its worker down {crashes} times in a row; check the
    worker's log, then retry it by hand."""
