"""Images that fit a query, in order of their numbers, without going through all of them.

A condition that few images fulfil is a **stream**: it yields ascending numbers from an index. The rarest condition of a query leads,
and its numbers are asked for the other conditions, some at a time, until the page is full.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, func, literal_column, select

from lib_rankopt.store import schema
from lib_rankopt.store.collected import _bulk, _rated, _rows, _search
from lib_rankopt.store.collected._checks import bounded
from lib_rankopt.store.collected.records import ImageQuery

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST = 1000
"""Images of one page."""

_images, _feedback, _ranked, _unrated = schema.collected_images, schema.collected_feedback, schema.ranked_images, schema.unrated_images
_SHOWN = ("unseen", "here", "gone", "changed")  # states of images that are not removed
_STEP, _LARGEST_STEP = 200, 5000
_SEVERAL = 64  # prompts that are followed one by one
_GATHERED = 20_000  # answers of one rater that are sorted for each page

Stream = Callable[[int, int], Sequence[int]]
"""(after, limit) → ascending numbers above ``after``; fewer than ``limit`` where there are no more."""


def numbers(connection: Connection, query: ImageQuery, found_texts: _search.Found) -> list[int]:
    """Return the numbers of the images of a page."""
    limit, after = min(max(query.limit, 1), MOST), bounded(query.after)
    try:
        plan = _Plan(connection, query, found_texts)
    except LookupError:
        return []
    found: list[int] = []
    step = limit if plan.exact else max(_STEP, limit)
    while len(found) < limit:
        some, after, more = merged(plan.streams, after, step)
        found += plan.of_source(plan.fitting(some))
        if not more:
            break
        step = min(2 * step, _LARGEST_STEP)
    return found[:limit]


def merged(streams: Sequence[Stream], after: int, limit: int) -> tuple[list[int], int, bool]:
    """Return the next numbers of all streams together, how far they are complete, and whether there may be more."""
    lists = [stream(after, limit) for stream in streams]
    ends = [some[-1] for some in lists if len(some) >= limit]
    if not ends:
        return sorted({number for some in lists for number in some}), after, False
    end = min(ends)
    return sorted({number for some in lists for number in some if number <= end}), end, True


@dataclass(frozen=True)
class _Lead:
    """A condition that could lead: about how many images it leaves, and its streams."""

    count: float
    streams: Callable[[], list[Stream]]
    name: str


class _Plan:
    """How a query is answered. Raises: LookupError where nothing can fit."""

    def __init__(self, connection: Connection, query: ImageQuery, found_texts: _search.Found) -> None:
        self._connection, self._query = connection, query
        self._rater: int | None = None
        if query.rater:
            self._rater = _bulk.number_of_rater(connection, query.rater)
            if self._rater is None and query.label != "unrated":
                raise LookupError
        only = bounded(query.collection) if query.collection is not None else None
        kinds = {int(number): kind for number, kind in connection.execute(_collections(only))}
        self._collections = [number for number, kind in kinds.items() if kind != _bulk.HIDDEN]
        self._hides = len(self._collections) < len(kinds)
        if not self._collections:
            raise LookupError
        self._tally = _tallies(connection, only, query)
        self._source = _rows.source_name(query.source)
        self._wanted = _rows.clean(query.prompt)
        self._texts = _search.rare(connection, self._wanted, found_texts) if self._wanted else None
        _bulk.by_index(connection)
        lead = min(self._leads(), key=lambda one: one.count)
        self.streams = lead.streams()
        self._led_by = lead.name
        self.exact = (lead.name == "unrated" or not self._asks) and not self._source

    # -- conditions that can lead
    def _leads(self) -> list[_Lead]:
        query, tally = self._query, self._tally
        found = [_Lead(tally["images"], self._by_state, "state")]
        if query.state:
            found = [_Lead(tally[f"state:{query.state}"], self._by_state, "state")]
        if query.model:
            found.append(_Lead(tally[f"model:{_rows.model_name(query.model)}"], self._by_model, "model"))
        if query.prompt_number is not None:
            prompt = bounded(query.prompt_number)
            found.append(_Lead(0, lambda: self._by_prompt(prompt, "prompt"), "prompt"))
        if (texts := self._texts) is not None:
            found.append(_Lead(len(texts), lambda: self._by_prompts(texts), "text"))
        if query.label == "unrated":
            if not query.rater:
                found.append(_Lead(tally["unrated"], self._by_unrated, "unrated"))
        elif self._asks:
            found.append(self._label_lead())
        if self._source:
            found.append(_Lead(tally[f"source:{self._source}"], self._by_source, "source"))
        return found

    @property
    def _asks(self) -> bool:
        """Whether feedback has to be looked at."""
        return self._query.label != "any" or self._rater is not None

    def _label_lead(self) -> _Lead:
        tally = self._tally
        kinds = {"like": ("like",), "dislike": ("dislike",), "compared": ("pair", "ranking")}.get(self._query.label, _rated.RATES)
        count: float = sum(tally[f"kind:{kind}"] * (4 if kind == "ranking" else 2 if kind == "pair" else 1) for kind in kinds)
        if self._rater is not None:
            said = tally[f"rater:{_rows.rater_name(self._query.rater)}"]
            if said <= _GATHERED:
                return _Lead(said, lambda: self._gathered(kinds), "rater")
            count = min(count, 2 * said)
        return _Lead(count, lambda: self._by_kinds(kinds), "label")

    # -- streams
    def _by_state(self) -> list[Stream]:
        if self._query.collection is None and not self._query.state and not self._hides:
            return [self._images_where((), "number")]
        return [
            self._images_where([_images.c.collection == collection, _images.c.state == state], "state")
            for collection in self._collections
            for state in self._states()
        ]

    def _states(self) -> list[str]:
        if self._query.state:
            return [self._query.state]
        return [state for state in _SHOWN if self._tally[f"state:{state}"] > 0]

    def _by_model(self) -> list[Stream]:
        own = _images.c.model == _rows.model_name(self._query.model)
        named: Any = literal_column("collected_images.model <> ''")  # as the index says
        return [self._images_where([_images.c.collection == collection, own, named], "model") for collection in self._collections]

    def _by_prompt(self, prompt: int, led_by: str) -> list[Stream]:
        own = _images.c.prompt == prompt
        return [self._images_where([_images.c.collection == collection, own], led_by) for collection in self._collections]

    def _by_prompts(self, prompts: Sequence[int]) -> list[Stream]:
        if len(prompts) <= _SEVERAL:
            return [stream for prompt in prompts for stream in self._by_prompt(prompt, "text")]
        found: list[int] = []
        for some in _bulk.pieces(prompts):
            own = (_images.c.collection.in_(self._collections), _images.c.prompt.in_(some))
            found += self._connection.execute(select(_images.c.number).where(*own, *self._attributes("text"))).scalars()
        return [_of_list(sorted(found))]

    def _images_where(self, own: Sequence[Any], led_by: str) -> Stream:
        conditions = [*own, *self._attributes(led_by)]

        def stream(after: int, limit: int) -> Sequence[int]:
            query = select(_images.c.number).where(*conditions, _images.c.number > after).order_by(_images.c.number).limit(limit)
            return self._connection.execute(query).scalars().all()

        return stream

    def _by_unrated(self) -> list[Stream]:
        return [self._column(_unrated.c.image, _unrated.c.collection == collection) for collection in self._collections]

    def _by_source(self) -> list[Stream]:
        named: Any = literal_column("collected_feedback.source <> ''")  # as the index says
        kind: Any = literal_column("collected_feedback.kind || ''")
        of_source = (_feedback.c.source == self._source, named, kind.in_(_CONCLUDED), _rated.stands(), *_rated.said_by(self._rater))
        return [self._column(_feedback.c.image, _feedback.c.collection == collection, *of_source) for collection in self._collections]

    def _by_kinds(self, kinds: Sequence[str]) -> list[Stream]:
        mine = _rated.said_by(self._rater)
        found = []
        for collection in self._collections:
            here = _feedback.c.collection == collection
            found += [self._column(_feedback.c.image, here, _feedback.c.kind == kind, *mine) for kind in kinds if kind != "ranking"]
            if "pair" in kinds:
                found.append(self._column(_feedback.c.other, here, _feedback.c.kind == "pair", *mine))
        if "ranking" in kinds and self._tally["kind:ranking"] > 0:
            found.append(self._ranked())
        return found

    def _ranked(self) -> Stream:
        """Numbers of images of other collections as well: rankings are few, and :meth:`fitting` leaves them out."""
        first = 0
        if self._query.collection is not None:
            own = [
                select(func.min(_images.c.number)).where(_images.c.collection == self._collections[0], _images.c.state == state)
                for state in (*_SHOWN, "removed")
            ]
            first = min((n for n in (self._connection.execute(query).scalar() for query in own) if n is not None), default=0)
        stream = self._column(_ranked.c.image)
        return lambda after, limit: stream(max(after, first - 1), limit)

    def _column(self, column: Any, *conditions: Any) -> Stream:
        def stream(after: int, limit: int) -> Sequence[int]:
            query = select(column).where(*conditions, column > after).order_by(column).distinct().limit(limit)
            return self._connection.execute(query).scalars().all()

        return stream

    def _gathered(self, kinds: Sequence[str]) -> list[Stream]:
        own = (_feedback.c.collection.in_(self._collections), _feedback.c.rater == self._rater)
        found: set[int] = set()
        for row in self._connection.execute(select(_feedback.c.image, _feedback.c.other).where(*own, _feedback.c.kind.in_(kinds))):
            found.update(number for number in row if number is not None)
        if "ranking" in kinds and self._tally["kind:ranking"] > 0:
            listed = select(_feedback.c.tiers).where(*own, _feedback.c.kind == "ranking")
            for tiers in self._connection.execute(listed).scalars():
                found.update(_rows.listed(tiers))
        return [_of_list(sorted(found))]

    # -- the other conditions
    def fitting(self, found: Sequence[int]) -> list[int]:
        """Return those that fulfil the conditions that do not lead."""
        whole = self._led_by in _OF_IMAGES
        if whole and not self._asks:
            return list(found)
        by_collection: dict[int, list[int]] = {}
        if whole and self._query.collection is not None:
            by_collection[self._collections[0]] = list(found)
        else:
            conditions = [] if whole else self._attributes(self._led_by)
            for number, collection in self._places(found, conditions):
                by_collection.setdefault(collection, []).append(number)
        if self._led_by == "unrated" or not self._asks:
            return sorted(number for some in by_collection.values() for number in some)
        return sorted(number for collection, some in by_collection.items() for number in self._answered(collection, some))

    def _places(self, found: Sequence[int], conditions: Sequence[Any]) -> Iterator[tuple[int, int]]:
        """Numbers and collections of those that fulfil conditions."""
        for some in _bulk.pieces(found):
            query = select(_images.c.number, _images.c.collection).where(_bulk.among(self._connection, _images.c.number, some), *conditions)
            for number, collection in self._connection.execute(query):
                if collection in self._collections:
                    yield int(number), int(collection)

    def _answered(self, collection: int, found: Sequence[int]) -> list[int]:
        label = self._query.label
        if self._query.rater and self._rater is None:
            return list(found)  # unrated by somebody who has said nothing
        given = (self._connection, collection, found, self._rater)
        if label in _SIGNS:
            signs = _rated.labels(*given)
            return [number for number in found if _SIGNS[label] in signs.get(number, ())]
        standing = _rated.compared(*given) if label == "compared" else _rated.rated(*given)
        return [number for number in found if (number in standing) != (label == "unrated")]

    def of_source(self, found: list[int]) -> list[int]:
        """Return those that have a label which was concluded from what the query names."""
        if not self._source or self._led_by == "source":
            return found
        own = (_feedback.c.source + "" == self._source, _rated.stands(), *_rated.said_by(self._rater))
        kept: set[int] = set()
        for some in _bulk.pieces(found):
            here = (_feedback.c.collection.in_(self._collections), _feedback.c.kind.in_(_CONCLUDED), _feedback.c.image.in_(some))
            kept.update(self._connection.execute(select(_feedback.c.image).where(*here, *own)).scalars())
        return [number for number in found if number in kept]

    def _attributes(self, led_by: str) -> list[Any]:
        """Conditions on an image's own columns but the one that leads, written so that they choose no index."""
        query, found = self._query, []
        if led_by != "state":
            state: Any = literal_column("collected_images.state || ''")
            found.append(state == query.state if query.state else state != "removed")
        if query.model and led_by != "model":
            model: Any = literal_column("collected_images.model || ''")
            found.append(model == _rows.model_name(query.model))
        if query.prompt_number is not None and led_by != "prompt":
            prompt: Any = literal_column("collected_images.prompt + 0")
            found.append(prompt == bounded(query.prompt_number))
        if self._wanted and led_by != "text":
            text = select(schema.prompts.c.text).where(schema.prompts.c.number == _images.c.prompt).scalar_subquery()
            found.append(_search.contains(self._connection, text, self._wanted))
        return found


_CONCLUDED = ("like", "dislike")
_OF_IMAGES = ("state", "model", "prompt", "text")
_SIGNS: Mapping[str, int] = {"like": 1, "dislike": -1}


def _of_list(found: Sequence[int]) -> Stream:
    return lambda after, limit: found[bisect_right(found, after) : bisect_right(found, after) + limit]


def _collections(only: int | None) -> Select[Any]:
    table = schema.collections.c
    query = select(table.number, table.kind)
    return query if only is None else query.where(table.number == only)


class _Counts(dict[str, int]):
    def __missing__(self, name: str) -> int:
        return 0


def _tallies(connection: Connection, collection: int | None, query: ImageQuery) -> _Counts:
    """The counts that a plan asks for."""
    table = schema.tallies
    names = ["images", "unrated", *(f"state:{state}" for state in (*_SHOWN, "removed"))]
    names += [f"kind:{kind}" for kind in _rated.RATES]
    names.append(f"source:{_rows.source_name(query.source)}")
    names += [f"rater:{_rows.rater_name(query.rater)}", f"model:{_rows.model_name(query.model)}"]
    wanted: Select[Any] = select(table.c.name, func.sum(table.c.value)).where(table.c.name.in_(names)).group_by(table.c.name)
    if collection is not None:
        wanted = wanted.where(table.c.collection == collection)
    return _Counts({str(name): int(value) for name, value in connection.execute(wanted)})
