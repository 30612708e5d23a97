"""Whole studies in one file: rounds, candidates, answers, scores, blind tests, images and latents, out of one store and into another.

The file is of the same kind as :mod:`.archive` writes, ``NAME.rankopt.zip``: ``study.json`` holds the records; images lie under
``images/ab/<sha256 of the file>.png`` and latents under ``latents/ab/<hash>.safetensors``, ``study.json`` says which is which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.store.base import Store
from lib_rankopt.store.blobs import BlobStore
from lib_rankopt.store.formats import files, folders
from lib_rankopt.store.formats.study_identity import StudyContent, place_for
from lib_rankopt.store.formats.study_records import content_of
from lib_rankopt.store.formats.zip_files import ArchiveReader, ArchiveWriter, new_archive
from lib_rankopt.store.records import History

KIND = "study"
_CONTENT = "study.json"
_MOST_CONTENT = 512 << 20  # bytes


@dataclass
class StudyReport:
    """What became of an export.

    Attributes:
        missing: hashes of images and latents that the study names and whose files are gone or damaged.
    """

    images: int = 0
    latents: int = 0
    missing: list[str] = field(default_factory=list)


def export_study(store: Store, blobs: BlobStore, study_id: str, path: Path) -> StudyReport:
    """Write a study into a file of its own. Scores are those of its images under its prompt.

    Raises:
        NotFoundError: there is no such study. InvalidInputError: there is a file of that name. StoreError: it cannot be written.
    """
    content = _gathered(store, study_id)
    report = StudyReport()
    with new_archive(path) as archive:
        images = {name: _put_image(archive, blobs, name, report) for name in sorted(content.images())}
        latents = {name: _put_latent(archive, blobs, name, report) for name in sorted(content.latents())}
        value = {
            "study": asdict(content.study),
            "rounds": [asdict(one) for one in content.rounds],
            "candidates": [asdict(one) for one in content.candidates],
            "events": [asdict(one) for one in content.events],
            "scores": [asdict(one) for one in content.scores],
            "blinds": [asdict(one) for one in content.blinds],
            "trials": [asdict(one) for one in content.trials],
            "images": {name: file for name, file in images.items() if file},
            "latents": {name: file for name, file in latents.items() if file},
        }
        archive.put(_CONTENT, folders.line(value))
        counts = {name: len(value[name]) for name in ("rounds", "candidates", "events", "images", "latents")}
        archive.finish(KIND, {"name": content.study.name, "study": study_id, "counts": counts})
    return report


def import_study(store: Store, blobs: BlobStore, path: Path) -> str:
    """Take a study in from a file; return its id, which is another one where the store has another study of that id.

    Everything is checked before anything is kept. A study that is here already, and may have gone on since, is left as it is, so that the
    same file taken in twice adds nothing but images and latents whose files are gone. A round that was being made is taken in as
    interrupted. Nobody may delete unused files meanwhile.

    Raises:
        InvalidInputError: no such file, damaged, a hash that does not fit, or records that cannot be; nothing was kept.
        StoreError: the store or its folder cannot be written.
    """
    with ArchiveReader(path, KIND) as archive:
        try:
            value = archive.json(_CONTENT, _MOST_CONTENT)
            content = content_of(value)
            members = _members(value, content)
            for name, member in members:
                _check(archive, name, member)
            placed, is_here = place_for(store, content)
            for name, member in members:
                _keep(archive, blobs, name, member)
            if is_here:
                return placed.study.id
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}.") from error
    store.put_scores(placed.scores)
    history = History(placed.rounds, placed.candidates, placed.events, placed.blinds, placed.trials)
    return store.create_study(placed.study, history).id


# -- out


def _gathered(store: Store, study_id: str) -> StudyContent:
    study = store.study(study_id)
    events = tuple(store.events(study_id))
    rounds = store.rounds(study_id)
    known = {one.id for one in rounds}
    # rounds that were discarded are not listed; those that something was said about are looked up
    rounds += [store.round_by_id(name) for name in dict.fromkeys(event.round for event in events) if name and name not in known]
    candidates = store.candidates([one.id for one in rounds])
    every = tuple(candidate for one in rounds for candidate in candidates[one.id])
    blinds = tuple(store.blinds(study_id))
    trials = tuple(trial for test in blinds for trial in store.trials(test.id))
    content = StudyContent(study, tuple(rounds), every, events, (), blinds, trials)
    return content.with_scores(store.scores(sorted(content.images()), str(study.settings.get("prompt", ""))))


def _put_image(archive: ArchiveWriter, blobs: BlobStore, name: str, report: StudyReport) -> str:
    data = _held(blobs.image_path(name), name, BlobStore.image_in)
    if data is None:
        report.missing.append(name)
        return ""
    report.images += 1
    return archive.put_image(data)


def _put_latent(archive: ArchiveWriter, blobs: BlobStore, name: str, report: StudyReport) -> str:
    data = _held(blobs.latent_path(name), name, BlobStore.latent_in)
    if data is None:
        report.missing.append(name)
        return ""
    member = f"latents/{name[:2]}/{name}.safetensors"
    archive.put(member, data)
    report.latents += 1
    return member


def _held(path: Path, name: str, identity: Callable[[bytes], str]) -> bytes | None:
    """A file of the store as it goes into the archive; ``None`` where it is gone, or holds something else than its name says."""
    try:
        data = files.read(path)
        return data if identity(data) == name else None
    except (NotFoundError, StoreError, InvalidInputError):
        return None


# -- in


def _members(value: dict[str, Any], content: StudyContent) -> list[tuple[str, str]]:
    """Return hash and member of every image and latent that the archive has of a study.

    Raises:
        InvalidInputError: they are not those of the study, or no members of an archive.
    """
    found: list[tuple[str, str]] = []
    for kind, own in (("images", content.images()), ("latents", content.latents())):
        listed = value.get(kind)
        if not isinstance(listed, dict) or not set(listed) <= own:
            raise InvalidInputError(f"{_CONTENT} lists {kind} that the study does not name")
        if not all(isinstance(member, str) and member.startswith(f"{kind}/") for member in listed.values()):
            raise InvalidInputError(f"{_CONTENT} lists {kind} that are none")
        found += sorted(listed.items())
    return found


def _check(archive: ArchiveReader, name: str, member: str) -> None:
    """Check a file and what it holds.

    Raises:
        InvalidInputError: it is damaged, or holds something else.
    """
    data = archive.read(member)
    found = BlobStore.image_in(data) if member.startswith("images/") else BlobStore.latent_in(data)
    if found != name:
        raise InvalidInputError(f"{member} does not hold what {_CONTENT} says")


def _keep(archive: ArchiveReader, blobs: BlobStore, name: str, member: str) -> None:
    is_image = member.startswith("images/")
    if blobs.exists(blobs.image_path(name) if is_image else blobs.latent_path(name)):
        return
    take = blobs.take_image if is_image else blobs.take_latent
    if take(archive.read(member)) != name:
        raise InvalidInputError(f"{member} was changed while it was read")
