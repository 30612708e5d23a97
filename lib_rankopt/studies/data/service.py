"""Collected images and feedback for faces: one part for each thing that people do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.studies.data.gallery import Gallery
from lib_rankopt.studies.data.jobs import Jobs
from lib_rankopt.studies.data.pictures import Pictures

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store


class Data:
    """Thread-safe.

    Attributes:
        jobs: what runs in the background.
        pictures: the images' files. gallery: what is said of images in the host's own gallery.
    """

    def __init__(self, data_dir: Path, store: Store, blobs: BlobStore) -> None:
        held = HeldFiles(data_dir)
        self.jobs = Jobs()
        self.pictures = Pictures(store.collected, held.root)
        self.gallery = Gallery(store.collected, held)
        self.note, self.label_of = self.gallery.note, self.gallery.label_of

    def close(self) -> None:
        """Stop what runs in the background."""
        self.jobs.close()
