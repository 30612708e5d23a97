"""A folder of images into a collection, and again: what is new is added, what was moved inside is found by its content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected.files import HeldFiles, look
from lib_rankopt.store.collected.records import Collection, ImageDraft, ImageQuery, Rating
from lib_rankopt.store.formats import folders
from lib_rankopt.store.formats.image_folder import image_entry, relative_name
from lib_rankopt.studies.data.jobs import Step

if TYPE_CHECKING:
    from lib_rankopt.store.collected.base import CollectionStore

_FIRST, _BATCH = 32, 256
_NAMED = 20


def checked_folder(path: str) -> Path:
    """Return the folder that a person means, links followed.

    Raises:
        InvalidInputError: no whole path, or no folder that can be read.
    """
    if "\0" in path or not path.strip():
        raise InvalidInputError("Name a folder of images by its whole path.")
    try:
        given = Path(path.strip()).expanduser()
        if not given.is_absolute():
            raise InvalidInputError(f"'{path[:200]}' is not a whole path; write it from the drive or root on.")
        found = given.resolve()
        if not found.is_dir():
            raise InvalidInputError(f"{given} is {'no folder' if found.exists() else 'not there'}; name a folder of images.")
        next(found.iterdir(), None)
    except (OSError, UnicodeError, RuntimeError) as error:  # RuntimeError: the home of somebody unknown
        raise InvalidInputError(f"The folder {path[:200]!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return found


class Taking:
    """One pass over a folder.

    Args:
        decided: told whenever it has become clear whether images are compared within their prompts; see :attr:`shares_prompts`.
        just_taken: images at the beginning of the folder that were taken in a moment ago and count as new.
    """

    def __init__(
        self, store: CollectionStore, held: HeldFiles, collection: Collection, decided: Callable[[bool], None], just_taken: int = 0
    ) -> None:
        self._store, self._held, self._collection = store, held, collection
        self._root = Path(collection.root)
        self._decided = decided
        self._said: bool | None = None
        self._just_taken = just_taken
        self._prompts: Counter[bytes] = Counter()
        self._sharing = 0  # images whose prompt another one has too
        self.new = self.known = self.problems = 0
        self.first_problems: list[str] = []

    @property
    def shares_prompts(self) -> bool:
        """Whether at least half of the images have a prompt that another one has too."""
        total = self.new + self.known
        return bool(total) and self._sharing * 2 >= total

    def steps(self) -> Iterator[Step]:
        """Take in what is new; before, look where known images have gone, and afterwards at the new ones, so that they are found again.

        Raises:
            InvalidInputError: there are no images in the folder.
        """
        known = self._store.tallies(self._collection.number).get("images", 0)
        if known:
            yield from self._look()
        yield from self.take()
        self._store.seed_ratings(self._collection.number)  # of images whose intake was cut off
        if self.new:
            yield from self._look()
        yield Step(self.new + self.known, self.new + self.known, "images", self._outcome())

    def take(self, most: int | None = None) -> Iterator[Step]:
        """Take in what is new, at most so many images, without a look at pixels."""
        moved = self._moved()
        names: list[str] = []
        size = _FIRST
        for found in folders.walk(self._root):
            if found.problem:
                self._problem(found.path, found.problem)
                continue
            if found.path not in moved:
                names.append(found.path)
            if len(names) >= min(size, most or size):
                yield self._keep(names)
                names, size = [], _BATCH
                if most is not None and self.new + self.known >= most:
                    return
        if names:
            yield self._keep(names)
        if not self.new + self.known + len(moved):
            why = f" {self.problems} could not be read: {self.first_problems[0]}." if self.problems else ""
            raise InvalidInputError(f"{self._root} holds no images, and neither do its sub-folders.{why}")

    def _keep(self, names: list[str]) -> Step:
        number = self._collection.number
        usable = [name for name in names if self._is_usable(name)]
        known = self._store.images_by_key(number, usable)
        drafts: list[ImageDraft] = []
        for name in usable:
            if name in known:
                is_new = self._just_taken > 0
                self._just_taken -= is_new
                self.new, self.known = self.new + is_new, self.known + (not is_new)
                self._count(known[name].prompt)
                continue
            try:
                entry, trouble = image_entry(self._root, name)
            except InvalidInputError as error:
                self._problem(name, str(error))
                continue
            if trouble:
                self._problem(name, trouble)
            draft = ImageDraft(entry.key, entry.prompt, entry.path, model=entry.model, about=entry.about)
            drafts.append(replace(draft, width=entry.width, height=entry.height))
            self._count(entry.prompt)
        if drafts:
            self.new += self._store.add(number, drafts).images
            added = self._store.images_by_key(number, [draft.key for draft in drafts])
            self._store.put_ratings(number, [Rating(image.number) for image in added.values()])
        if self._said != self.shares_prompts:
            self._said = self.shares_prompts
            self._decided(self._said)
        return Step(self.new + self.known, 0, "images", self._outcome())

    def _count(self, prompt: str) -> None:
        if not prompt:
            return
        digest = sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:12]
        self._prompts[digest] += 1
        self._sharing += {1: 0, 2: 2}.get(self._prompts[digest], 1)

    def _is_usable(self, name: str) -> bool:
        try:
            relative_name(name)
        except InvalidInputError as error:
            self._problem(name.encode("utf-8", "replace").decode(), str(error))
            return False
        return True

    def _moved(self) -> set[str]:
        """Names under which images lie that were taken in under others."""
        found: set[str] = set()
        after = 0
        while page := self._store.page(ImageQuery(collection=self._collection.number, after=after, limit=1000)):
            after = page[-1].number
            found.update(image.path for image in page if image.path is not None and image.path != image.key and not image.held)
        return found

    def _look(self) -> Iterator[Step]:
        for report in look(self._store, self._held, self._collection):
            yield Step(report.done, report.total, "images looked at", self._outcome())

    def _problem(self, name: str, why: str) -> None:
        self.problems += 1
        if len(self.first_problems) < _NAMED:
            self.first_problems.append(f"{name[:200]}: {why}")

    def _outcome(self) -> dict[str, Any]:
        return {"new": self.new, "known": self.known, "problems": self.problems, "first_problems": list(self.first_problems)}
