"""What people say of images in a host's own gallery, and what is concluded from what they do with them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lib_rankopt.errors import NotFoundError, RankOptError, StoreError
from lib_rankopt.store.collected.derive import said_by
from lib_rankopt.store.collected.files import HeldFiles, pixels_of
from lib_rankopt.store.collected.intake import open_collection
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft
from lib_rankopt.store.formats.files import read
from lib_rankopt.store.formats.image_folder import image_entry
from lib_rankopt.store.records import new_id

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

GALLERY = "gallery"
_REMEMBERED = 2000


class Gallery:
    """Likes, dislikes and what is concluded, in one collection. Thread-safe; several processes may work on one store.

    Of each image that something is said about, the data folder keeps a copy, so that what is said outlives the tidying of output folders.
    Images are known by their content: a file that was moved, renamed or saved a second time is the same image.
    """

    def __init__(self, store: CollectionStore, held: HeldFiles) -> None:
        self._store, self._held = store, held
        self._lock = threading.Lock()
        self._hashes: OrderedDict[tuple[str, int, int], str] = OrderedDict()
        self._number: int | None = None

    def note(
        self, file: Path, kind: Literal["like", "dislike", "unlike"], source: str = "", rater: str = "me", prompt: str | None = None
    ) -> None:
        """Keep what was said about an image; one that is not known is taken in first.

        Args:
            file: the image. kind: ``unlike`` takes the rater's own label away.
            source: empty for what somebody said, else what it was concluded from (``saved``, ``deleted`` …).
            prompt: what the image should show; ``None`` for what its generation parameters say.

        Raises:
            NotFoundError: there is no such file. StoreError: it is no image that can be read, or the store cannot be written.
        """
        content = self._content(file)
        collection = self._collection()
        known = self._store.images_by_key(collection, [content])
        if content not in known:
            self._take_in(collection, file, content, prompt)
            known = self._store.images_by_key(collection, [content])
        number = known[content].number
        events = self._store.feedback_of([number])
        if not source and said_by(rater, events).get(number, "unlike") == kind:
            return
        if source and any(one.source == source and one.kind == kind and one.rater == rater for one in events):
            return  # saving an image a second time says nothing new
        self._store.append(collection, FeedbackDraft(kind, (number,), ((0,),), new_id(), rater=rater, source=source))

    def label_of(self, files: Sequence[Path], rater: str = "me") -> list[str]:
        """Return what a person said of each file: ``like``, ``dislike``, or nothing (also of files that cannot be read)."""
        contents = []
        for file in files:
            try:
                contents.append(self._content(file))
            except RankOptError:
                contents.append("")
        collection = self._known()
        known = {} if collection is None else self._store.images_by_key(collection, [content for content in contents if content])
        said = said_by(rater, self._store.feedback_of([image.number for image in known.values()]))
        return [said.get(known[content].number, "") if content in known else "" for content in contents]

    def _take_in(self, collection: int, file: Path, content: str, prompt: str | None) -> None:
        data = read(file)
        found, _, width, height = pixels_of(data, file)
        if found != content:
            raise StoreError(f"{file} was changed while it was read; try again.")
        entry, _ = image_entry(file.parent, file.name)
        path, hash_of_file = self._held.put(data)
        about = {**entry.about, "file": file.name}
        said = entry.prompt if prompt is None else prompt
        model = str(entry.model or about.get("model_hash") or "")
        draft = ImageDraft(
            content, said, path, True, hash_of_file, content, width, height, len(data), model=model, about=about, state="here"
        )  # fmt: skip
        self._store.add(collection, [draft])

    def _content(self, file: Path) -> str:
        """Identity of an image file by content; a file that has not changed is not read again."""
        try:
            about = file.stat()
        except OSError as error:
            raise NotFoundError(f"There is no file {file}.") from error
        stamp = (str(file), about.st_size, about.st_mtime_ns)
        with self._lock:
            if stamp in self._hashes:
                self._hashes.move_to_end(stamp)
                return self._hashes[stamp]
        content = pixels_of(read(file), file)[0]
        with self._lock:
            self._hashes[stamp] = content
            while len(self._hashes) > _REMEMBERED:
                self._hashes.popitem(last=False)
        return content

    def _collection(self) -> int:
        """Number of the gallery's collection, which is made when something is said for the first time."""
        known = self._known()
        if known is None:
            known = self._number = open_collection(self._store, Collection(GALLERY, kind="webui")).number
        return known

    def _known(self) -> int | None:
        if self._number is None or not self._is_there(self._number):
            named = (one.number for one in self._store.collections() if (one.name, one.kind) == (GALLERY, "webui"))
            self._number = next(named, None)
        return self._number

    def _is_there(self, number: int) -> bool:
        try:
            self._store.collection(number)
        except NotFoundError:
            return False
        return True
