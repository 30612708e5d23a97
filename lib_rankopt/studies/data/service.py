"""Collected images and feedback for faces: one part for each thing that people do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.studies.data.gallery import Gallery
from lib_rankopt.studies.data.jobs import Jobs
from lib_rankopt.studies.data.moving import Moving
from lib_rankopt.studies.data.pictures import Pictures

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.collected.records import Collection


class Data:
    """Thread-safe.

    Attributes:
        store: collections, their images and feedback.
        jobs: what runs in the background.
        pictures: the images' files. gallery: what is said of images in the host's own gallery.
        moving: imports, exports, looks at files.
    """

    def __init__(self, data_dir: Path, store: Store, blobs: BlobStore) -> None:
        self.store = store.collected
        held = HeldFiles(data_dir)
        self.jobs = Jobs()
        self.moving = Moving(store, blobs, held, self.jobs)
        self.pictures = Pictures(store.collected, held.root)
        self.gallery = Gallery(store.collected, held)
        self.note, self.label_of = self.gallery.note, self.gallery.label_of

    def sizes(self) -> list[tuple[Collection, int, int]]:
        """Return all collections, newest first, each with how much was said about its images and how many there are."""
        found = [(one, self.store.tallies(one.number)) for one in self.store.collections()]
        said = tuple(f"kind:{kind}" for kind in ("ranking", "pair", "like", "dislike"))
        return [(one, sum(tally.get(name, 0) for name in said), tally.get("images", 0)) for one, tally in found]

    def close(self) -> None:
        """Stop what runs in the background."""
        self.jobs.close()
