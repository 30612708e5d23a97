"""The contract of collected images and feedback.

What holds for :class:`~lib_rankopt.store.base.Store` holds here: records are frozen, every method is one transaction and may be called
from any thread or process, feedback is appended and never edited. There are no revisions: whoever says something appends it, two raters
who disagree are two events, and what follows from all of them is derived.

**Sizes.** A million images and ten million answers are usual. Nothing here loads all of them; lists come in pages by number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_rankopt.store.collected.records import (
        Added,
        CollectedImage,
        Collection,
        Deleted,
        FeedbackDraft,
        FeedbackRecord,
        FileFacts,
        ImageDraft,
        ImageQuery,
        Rating,
    )


class CollectionStore(ABC):
    """See the module's text for what holds for every method."""

    # -- collections
    @abstractmethod
    def create(self, draft: Collection) -> Collection:
        """Add a collection.

        Raises:
            ConflictError: there is one of that name.
        """

    @abstractmethod
    def collections(self) -> list[Collection]:
        """Return all collections, newest first."""

    @abstractmethod
    def collection(self, number: int) -> Collection:
        """Return one collection.

        Raises:
            NotFoundError: there is none of that number.
        """

    @abstractmethod
    def change(
        self,
        number: int,
        *,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        root: str | None = None,
        position: int | None = None,
    ) -> Collection:
        """Change what is given. Raises: NotFoundError, ConflictError (the name is taken)."""

    def delete(self, number: int) -> set[str]:
        """Delete a collection with all that is known of its images; return paths of held files that no other one refers to.

        Raises:
            NotFoundError: there is no such collection.
        """
        self.begin_deletion(number)
        paths: set[str] = set()
        while (gone := self.delete_some(number)).rows:
            paths |= gone.paths
        return paths

    @abstractmethod
    def begin_deletion(self, number: int) -> Collection:
        """Hide a collection for good, and return it: it is in no list, page or count, takes in nothing any more, and its name is free.

        Its rows go with :meth:`delete_some`, piece by piece, so that other writers come in between. Until then an image is still found by
        its number or hash.

        Raises:
            NotFoundError: there is no such collection.
        """

    @abstractmethod
    def deletions(self) -> list[Collection]:
        """Return hidden collections, oldest first, as they were but for their settings; whoever finds one that was left may go on."""

    @abstractmethod
    def delete_some(self, number: int, most: int = 2000) -> Deleted:
        """Delete up to ``most`` rows of a hidden collection; none are left where it returns 0, and then the collection is gone as well."""

    # -- intake
    @abstractmethod
    def add(
        self, collection: int, images: Sequence[ImageDraft], feedback: Sequence[FeedbackDraft] = (), position: int | None = None
    ) -> Added:
        """Add images and feedback about them; what is there already (by key, by token) stays as it is.

        An image that was known by its name only, with no path, gets the file of a later draft, in this batch or another one. An answer
        without a token is a new one each time.

        Args:
            feedback: its ``images`` are keys, of images that are given here or are in the collection. No retractions.
            position: how far the reading is with these; kept in the same transaction.

        Raises:
            NotFoundError: there is no such collection, or no image of a key. InvalidInputError: something that cannot be kept, as
            :mod:`._checks` has it; of a batch with one such row nothing is added.
        """

    # -- images
    @abstractmethod
    def image(self, number: int) -> CollectedImage:
        """Return one image. Raises: NotFoundError."""

    @abstractmethod
    def images_by_number(self, numbers: Sequence[int]) -> dict[int, CollectedImage]:
        """Return those that there are."""

    @abstractmethod
    def images_by_key(self, collection: int, keys: Sequence[str]) -> dict[str, CollectedImage]:
        """Return those that there are, by the keys as they were asked for."""

    @abstractmethod
    def images_by_hash(self, hashes: Sequence[str]) -> list[CollectedImage]:
        """Return images whose file or content has one of these hashes, in any collection."""

    @abstractmethod
    def page(self, query: ImageQuery) -> list[CollectedImage]:
        """Return the images that fit, by number.

        Feedback counts as long as it stands, and a label as long as its rater thinks so: what they said last, or without that what was
        concluded last from each source; ``unlike`` takes away what was before. The next page begins after the last number of this one.
        """

    @abstractmethod
    def same_content(self, collection: int | None = None, limit: int = 1000) -> list[tuple[int, ...]]:
        """Return groups of images with the same file or the same pixels, the first ``limit`` by their first number; removed ones left out.

        Args:
            collection: duplicates within this one; ``None`` for all together.
        """

    @abstractmethod
    def phashes(self, collection: int | None = None, after: int = 0, limit: int = 100_000) -> list[tuple[int, int]]:
        """Return number and perceptual hash of images that have one, by number, from behind ``after``; removed ones left out."""

    @abstractmethod
    def note_files(self, facts: Sequence[FileFacts]) -> None:
        """Keep what looks at files have found; removed images stay removed."""

    @abstractmethod
    def set_prompt(self, numbers: Sequence[int], prompt: str) -> None:
        """Correct the caption of some images."""

    @abstractmethod
    def set_removed(self, numbers: Sequence[int], removed: bool = True) -> None:
        """Hide images, or bring them back as not looked at."""

    # -- feedback
    @abstractmethod
    def append(self, collection: int, draft: FeedbackDraft) -> FeedbackRecord:
        """Append feedback about images of one collection, and note nothing twice.

        Returns:
            the record; the earlier one where the token was used for the same answer.

        Raises:
            NotFoundError: there is no such image in the collection. ConflictError: the token was used for another answer, or what it
            retracts was taken back already.
        """

    @abstractmethod
    def feedback(
        self, collection: int, after: int = 0, limit: int = 1000, *, rater: str = "", standing: bool = False
    ) -> list[FeedbackRecord]:
        """Return feedback by number, from behind ``after``; with ``standing`` without retractions and what they took back."""

    @abstractmethod
    def feedback_of(self, images: Sequence[int]) -> list[FeedbackRecord]:
        """Return all standing feedback about some images, by number."""

    @abstractmethod
    def feedback_back(self, collection: int, rater: str, limit: int = 50) -> list[FeedbackRecord]:
        """Return a rater's latest feedback, newest first, retractions too."""

    # -- counts
    @abstractmethod
    def tallies(self, collection: int | None = None) -> dict[str, int]:
        """Return counts, of one collection or of all together, at once however much there is.

        Names: ``images``, ``prompts`` (of removed images too), ``removed``, ``unrated`` (images that nobody has labelled or compared, of
        removed ones too), ``model:<name>`` and ``state:<state>`` (images), ``kind:<kind>``, ``rater:<name>`` and ``source:<name>``
        (feedback that stands), ``kind:retraction``. What is 0 is left out. Prompts of several collections are counted for each of them.
        """

    # -- ratings
    @abstractmethod
    def seed_ratings(self, collection: int) -> int:
        """Give every image without a rating the prior one; return how many got it."""

    @abstractmethod
    def put_ratings(self, collection: int, ratings: Sequence[Rating]) -> None:
        """Keep ratings, in place of those that are there."""

    @abstractmethod
    def ratings(self, collection: int, after: int = 0, limit: int = 1000) -> list[Rating]:
        """Return ratings by image number."""

    @abstractmethod
    def ratings_of(self, images: Sequence[int]) -> dict[int, Rating]:
        """Return the ratings of some images, as far as they have one."""

    @abstractmethod
    def uncertain(self, collection: int, limit: int = 64, prompt: int | None = None) -> list[Rating]:
        """Return the ratings with the largest standard deviation, of images that are not removed or gone."""

    @abstractmethod
    def near(self, collection: int, mean: float, limit: int = 64, prompt: int | None = None) -> list[Rating]:
        """Return ratings around a mean, about half of them on each side, of images that are not removed or gone."""
