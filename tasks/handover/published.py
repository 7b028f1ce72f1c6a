"""Published names: a catalogue's pictures under `published/`, switched from night to night at once.

Every file has a name of its own, so a night only adds files; the index, which is written last,
says which hold. Files that neither this index nor the one before it names are removed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from tasks.errors import MissingObject
from tasks.handover.names import file_name, folder_name
from tasks.handover.pictures import File, HandedPicture
from tasks.ledger import hold_catalogue
from tasks.report.links import Link, public_link
from tasks.settings import Settings
from tasks.stores import Stores

FORMAT = 1  # of the index; raised when a field changes its meaning
ROOT = "published"
_COPIERS = 16
_AT_ONCE = 1000  # objects of a request to remove them
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".avif": "image/avif"}

Index = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """What has become of a catalogue's published names."""

    index: str  # key
    pictures: int
    copied: int  # files
    removed: int  # files


def index_key(catalogue: str) -> str:
    """Return the key of a catalogue's index."""
    return f"{ROOT}/{folder_name(catalogue)}/index.json"


def publish_names(
    stores: Stores,
    settings: Settings,
    catalogue: str,
    run: uuid.UUID,
    pictures: Sequence[HandedPicture],
) -> Named:
    """Copy what is new, switch the index, and remove what nobody needs any more.

    May be killed at any moment and run again. Two of one catalogue take turns.
    """
    with stores.session() as session:
        hold_catalogue(session, catalogue)
        before = read_index(stores, catalogue)
        there = {each.key: each.bytes for page in _pages(stores, catalogue) for each in page}
        copies = {
            named_key(catalogue, picture, file): file
            for picture in pictures
            for file in picture.shown
        }
        new = [key for key, file in copies.items() if there.get(key) != file.bytes]
        with ThreadPoolExecutor(_COPIERS) as pool:
            list(pool.map(lambda key: _copy(stores, key, copies[key]), new))
        link = public_link(stores, settings)
        entries = [_entry(catalogue, each, link) for each in pictures]
        was = before.get("pictures", [])
        previous = before.get("previous", []) if entries == was else was
        _write(stores, catalogue, str(run), entries, previous)
        gone = sorted(set(there) - {*copies, *_keys(previous), index_key(catalogue)})
        _remove(stores, gone)
    return Named(index_key(catalogue), len(entries), len(new), len(gone))


def withdraw_names(stores: Stores, catalogue: str, references: Collection[str]) -> None:
    """Remove the files of some references from a catalogue, and from its index."""
    with stores.session() as session:
        hold_catalogue(session, catalogue)
        index = read_index(stores, catalogue)
        entries = [*index.get("pictures", ()), *index.get("previous", ())]
        gone = [each for each in entries if each["reference"] in references]
        if not gone:
            return
        stay = [each for each in index["pictures"] if each not in gone]
        left = [each for each in index["previous"] if each not in gone]
        _write(stores, catalogue, index["run"], stay, left)
        _remove(stores, sorted(_keys(gone)))


def read_index(stores: Stores, catalogue: str) -> Index:
    """Return a catalogue's index; empty where nothing was published."""
    try:
        return dict(json.loads(stores.bucket.get(index_key(catalogue))))
    except MissingObject:
        return {}


def named_key(catalogue: str, picture: HandedPicture, file: File) -> str:
    """Return the key of a picture's file under its name."""
    ending = PurePosixPath(file.object).suffix
    name = file_name(picture.name, file.sha256, ending)
    return f"{ROOT}/{folder_name(catalogue)}/{name}"


def under_names(
    stores: Stores, settings: Settings, catalogue: str, picture: HandedPicture
) -> HandedPicture:
    """Return a picture whose published files are those under their names."""
    link = public_link(stores, settings)

    def named(file: File) -> File:
        key = named_key(catalogue, picture, file)
        return replace(file, object=key, url=link(key, ""))

    shown = tuple(named(file) for file in picture.shown)
    return replace(picture, files=shown if len(picture.files) == 1 else (picture.files[0], *shown))


def _pages(stores: Stores, catalogue: str) -> Iterable[Sequence[Any]]:
    return stores.bucket.pages(f"{ROOT}/{folder_name(catalogue)}/")


def _copy(stores: Stores, key: str, file: File) -> None:
    body = stores.bucket.get(file.object, file.sha256)
    stores.bucket.put(key, body, _TYPES[PurePosixPath(key).suffix])


def _entry(catalogue: str, picture: HandedPicture, link: Link) -> dict[str, Any]:
    files = []
    for file in picture.shown:
        key = named_key(catalogue, picture, file)
        entry = {"rendition": file.rendition, "object": key, "url": link(key, "")}
        files.append(entry | {"sha256": file.sha256, "bytes": file.bytes})
    return {"reference": picture.reference, "number": picture.number, "files": files}


def _write(
    stores: Stores,
    catalogue: str,
    run: str,
    entries: Sequence[Mapping[str, Any]],
    previous: Sequence[Mapping[str, Any]],
) -> None:
    body = {"format": FORMAT, "catalogue": catalogue, "run": run, "pictures": entries}
    text = json.dumps(body | {"previous": previous}, ensure_ascii=False, indent=1)
    stores.bucket.put(index_key(catalogue), text.encode(), "application/json")


def _keys(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    return {file["object"] for each in entries for file in each["files"]}


def _remove(stores: Stores, keys: Sequence[str]) -> None:
    for first in range(0, len(keys), _AT_ONCE):
        stores.bucket.delete_all(keys[first : first + _AT_ONCE])
