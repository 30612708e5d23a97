"""Collected images and feedback for faces: one part for each thing that people do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.studies.data.browsing import Browsing
from lib_rankopt.studies.data.comparing import Comparing
from lib_rankopt.studies.data.duplicates import DuplicateFinder
from lib_rankopt.studies.data.gallery import Gallery
from lib_rankopt.studies.data.jobs import Jobs
from lib_rankopt.studies.data.moving import Moving
from lib_rankopt.studies.data.pictures import Pictures
from lib_rankopt.studies.data.reach import Reach

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.collected.records import Collection


class Data:
    """Thread-safe.

    Attributes:
        store: collections, their images and feedback.
        jobs: what runs in the background.
        pictures: the images' files. gallery: what is said of images in the host's own gallery.
        moving: imports and exports.
        comparing: images ranked a few at a time.
        browsing: what is there, and corrections. duplicates: what is there twice. reach: what objectives would get.

    Args:
        weights: gives how much labels count that were concluded, by source.
    """

    def __init__(
        self, data_dir: Path, store: Store, blobs: BlobStore, weights: Callable[[], Mapping[str, float]] = lambda: IMPLICIT_WEIGHTS
    ) -> None:
        self.store = store.collected
        held = HeldFiles(data_dir)
        self.jobs = Jobs()
        self.moving = Moving(store, blobs, held, self.jobs, weights)
        self.pictures = Pictures(store.collected, held)
        self.gallery = Gallery(store.collected, held)
        self.comparing = Comparing(store.collected, held, self.jobs, weights=weights)
        self.browsing = Browsing(store, held, self.jobs, weights)
        self.duplicates = DuplicateFinder(store.collected, self.browsing)
        self.reach = Reach(store, blobs, self.browsing, weights)

    def sizes(self) -> list[tuple[Collection, int, int]]:
        """Return all collections, newest first, each with how much was said about its images and how many there are."""
        found = [(one, self.store.tallies(one.number)) for one in self.store.collections()]
        said = tuple(f"kind:{kind}" for kind in ("ranking", "pair", "like", "dislike"))
        return [(one, sum(tally.get(name, 0) for name in said), tally.get("images", 0)) for one, tally in found]

    def close(self) -> None:
        """Stop what runs in the background."""
        self.jobs.close()
