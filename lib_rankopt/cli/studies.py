"""``studies list | show | delete | pack | unpack``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from lib_rankopt.cli.context import open_service, print_json, table
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.find import chosen
from lib_rankopt.studies.views import RoundView, StudyView, to_json

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService


def list_studies(arguments: Namespace) -> int:
    """One line a study."""
    with open_service(arguments) as service:
        studies = service.list()
    if arguments.json:
        for study in studies:
            print_json(to_json(study))
    elif studies:
        rows = [(s.id[:8], s.created_at[:16].replace("T", " "), f"{s.answered}/{s.rounds}", str(s.images), s.name) for s in studies]
        table(("id", "created", "rounds", "images", "name"), rows)
    else:
        print("No studies yet. Start one with: python -m lib_rankopt serve")
    return 0


def find(service: StudyService, wanted: str) -> StudyView:
    """The study whose id is or begins with ``wanted``, or whose name is.

    Raises:
        NotFoundError: none. InvalidInputError: several.
    """
    return chosen(service.list(), wanted)


def show(arguments: Namespace) -> int:
    """Settings, rounds and files of one study."""
    with open_service(arguments) as service:
        study = find(service, arguments.study)
        rounds = service.rounds(study.id)
        if arguments.json:
            print_json({**to_json(study), "round_list": to_json(rounds)})
            return 0
        print(f"{study.name}  ({study.id})\ncreated  {study.created_at}\nprompt   {study.settings.prompt}")
        print(f"optimiser {study.settings.optimizer}, seed {study.settings.seed}, {study.images} images\n")
        table(("round", "status", "images", "ranked by", "best"), [_row(r) for r in rounds])
        if study.now_image:
            print(f"\nbest image: {service.image_path(study.now_image)}")
    return 0


def _row(item: RoundView) -> tuple[str, ...]:
    images = sum(c.image is not None for c in item.candidates)
    best = next((c.image or "" for c in item.candidates if c.id == item.best), "")
    return str(item.index), item.status, str(images), item.answered_by or "", best[:12]


def delete(arguments: Namespace) -> int:
    """Delete a study after asking."""
    with open_service(arguments) as service:
        study = find(service, arguments.study)
        if not arguments.yes:
            if not sys.stdin.isatty():
                raise InvalidInputError("Deleting asks first, and there is no terminal to ask on. Add --yes.")
            if input(f"Delete '{study.name}' with its {study.images} images? [y/N] ").strip().lower() not in {"y", "yes"}:
                print("Kept.")
                return 0
        service.delete(study.id)
    if arguments.json:
        print_json({"deleted": study.id})
    else:
        print(f"Deleted '{study.name}'.")
    return 0


def pack(arguments: Namespace) -> int:
    """Write a study with its images, latents and answers into one file."""
    from lib_rankopt.cli.stores import open_stores
    from lib_rankopt.store.formats.study_archive import export_study

    with open_stores(arguments) as stores:
        study = chosen(stores.store.studies(), arguments.study)
        report = export_study(stores.store, stores.blobs, study.id, arguments.file)
    if arguments.json:
        print_json({"study": study.id, "file": str(arguments.file), **vars(report)})
        return 0
    print(f"{arguments.file}: '{study.name}' with {report.images} images and {report.latents} latents.")
    if report.missing:
        print(f"{len(report.missing)} files were gone and are missing in it; the first: {report.missing[0]}", file=sys.stderr)
    return 0


def unpack(arguments: Namespace) -> int:
    """Take a study in from a file that ``pack`` wrote."""
    from lib_rankopt.cli.stores import open_stores
    from lib_rankopt.store.formats.study_archive import import_study

    with open_stores(arguments) as stores:
        before = {study.id for study in stores.store.studies()}
        study = stores.store.study(import_study(stores.store, stores.blobs, arguments.file))
    is_new = study.id not in before
    if arguments.json:
        print_json({"study": study.id, "name": study.name, "new": is_new})
    else:
        print(f"'{study.name}' is study {study.id[:8]} now." if is_new else f"'{study.name}' was here already, as study {study.id[:8]}.")
    return 0
