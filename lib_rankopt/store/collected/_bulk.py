"""Many rows at once, in the quickest way that a database has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, any_, case, func, literal, or_, select, text

from lib_rankopt.errors import StoreError
from lib_rankopt.store import schema
from lib_rankopt.store.collected._rows import rater_name, source_name

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

HIDDEN = "deleting"
"""Kind of a collection that is being deleted."""

_images = schema.collected_images
_ANALYZED = 5000
_SMALL = 16  # collections of a share below this are left to PostgreSQL's own renewal
_CHUNK = 500  # SQLite before 3.32 takes 999 values in one statement

Value = TypeVar("Value")


def pieces(values: Iterable[Value]) -> Iterator[list[Value]]:
    """Cut values into lists that fit one statement."""
    every = list(values)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


def among(connection: Connection, column: Any, values: Sequence[int]) -> Any:
    """Condition: a number is one of many. PostgreSQL takes them as one value, which spares the statement that is made for each count."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(values), ARRAY(BigInteger)))
    return column.in_(values)


def insert(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that are new for certain.

    Raises:
        StoreError: PostgreSQL refuses them.
    """
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in columns)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})', list(rows))
        return
    driver = connection.dialect.loaded_dbapi
    try:
        with connection.connection.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)
    except driver.Error as error:
        raise StoreError(f"The database refused {len(rows)} rows of {table.name}: {str(error).splitlines()[0]}") from error


def reserve(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Take the next numbers of a table; numbers of rows that were deleted do not come again."""
    if not count:
        return range(0)
    if connection.dialect.name == "postgresql":
        sequence = "(SELECT CAST(pg_get_serial_sequence(:t, 'number') AS regclass) AS name OFFSET 0) AS one"
        query = text(f"SELECT nextval(name) FROM {sequence}, generate_series(1, :n)").bindparams(t=table.name)
        return sorted(int(row[0]) for row in connection.execute(query, {"n": count}))
    last = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :t"), {"t": table.name}).scalar() or 0
    return range(int(last) + 1, int(last) + 1 + count)


def count(connection: Connection, collection: int, changes: Mapping[str, int]) -> None:
    """Add to the tallies of a collection."""
    rows = [{"c": collection, "n": name[:220], "v": value} for name, value in sorted(changes.items()) if value]
    if rows:
        # sorted, so that two writers never wait for each other crosswise
        statement = text(
            "INSERT INTO tallies (collection, name, value) VALUES (:c, :n, :v) "
            "ON CONFLICT (collection, name) DO UPDATE SET value = tallies.value + excluded.value"
        )
        connection.execute(statement, rows)


def tally_of_kinds(kinds: Iterable[tuple[str, str, str]]) -> Counter[str]:
    """Count kinds, raters and sources of feedback, as they were given."""
    found: Counter[str] = Counter()
    for (kind, rater, source), times in Counter(kinds).items():
        found[f"kind:{kind}"] += times
        found[f"rater:{rater_name(rater)}"] += times
        if plain := source_name(source):
            found[f"source:{plain}"] += times
    return found


def visible() -> Any:
    """Condition: a collection is not being deleted."""
    return schema.collections.c.kind != HIDDEN


def lock(connection: Connection, collections: Iterable[int]) -> list[int]:
    """Hold collections against other writers until the transaction ends; return those that there are.

    Every writer does so before anything else, in one order: numbers are then committed in the order in which they were given, tallies
    agree with what they count, and two writers never wait for each other crosswise. SQLite has one writer at a time anyway.
    """
    own = schema.collections.c.number
    query = select(own).where(own.in_(sorted(set(collections))), visible()).order_by(own).with_for_update()
    return [int(number) for number in connection.execute(query).scalars()]


def collections_of(connection: Connection, images: Iterable[int]) -> list[int]:
    """Hold the collections of some images; return their numbers."""
    found: set[int] = set()
    for some in pieces(images):
        found.update(connection.execute(select(_images.c.collection).where(_images.c.number.in_(some)).distinct()).scalars())
    return lock(connection, found)


def numbered(connection: Connection, table: Table, column: str, values: Mapping[Any, Mapping[str, Any]]) -> dict[Any, int]:
    """Return the numbers of rows by the unique ``column``; those that are missing are added with the rest of their columns."""
    found = _numbers(connection, table, column, values)
    missing = sorted(value for value in values if value not in found)
    if not missing:
        return found
    rest = list(values[missing[0]])
    rows = [(value, *(values[value][name] for name in rest)) for value in missing]
    if connection.dialect.name != "postgresql":
        # one writer at a time: nobody has added any of them in between
        added = dict(zip(missing, reserve(connection, table, len(missing)), strict=True))
        insert(connection, table, ("number", column, *rest), [(added[row[0]], *row) for row in rows])
        return found | added
    # another process may have; sorted, so that two of them never wait for each other crosswise
    types = [f"%s::{table.c[name].type.compile(connection.dialect)}[]" for name in (column, *rest)]
    names = ", ".join((column, *rest))
    statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({', '.join(types)}) ON CONFLICT ({column}) DO NOTHING"
    given = tuple(map(list, zip(*rows, strict=True)))
    found |= _by_value(connection.exec_driver_sql(f"{statement} RETURNING {column}, number", given))
    return found | _numbers(connection, table, column, [value for value in missing if value not in found])


def _numbers(connection: Connection, table: Table, column: str, values: Iterable[Any]) -> dict[Any, int]:
    return _by_value(looked_up(connection, table, (column, "number"), column, values))


def _by_value(rows: Iterable[Any]) -> dict[Any, int]:
    return {bytes(value) if isinstance(value, memoryview) else value: int(number) for value, number in rows}


def looked_up(
    connection: Connection, table: Table, columns: Sequence[str], column: str, values: Iterable[Any], collection: int | None = None
) -> Iterator[Any]:
    """Give columns of the rows whose ``column``, which has an index, is one of many values; of one collection if that is given.

    Written for the drivers: SQLAlchemy takes longer to make such a statement than a database to answer it.
    """
    select_from = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {column}"
    of_it = "" if collection is None else f" AND collection = (SELECT CAST({int(collection)} AS BIGINT))"  # as ours() says
    for some in pieces(values):
        if connection.dialect.name == "postgresql":
            yield from connection.exec_driver_sql(f"{select_from} = ANY(%s){of_it}", (some,))
        else:
            yield from connection.exec_driver_sql(f"{select_from} IN ({', '.join('?' * len(some))}){of_it}", tuple(some))


def ours(table: Table, collection: int) -> Any:
    """Condition: a row is of a collection; for an index that has a key or token after it.

    Of a collection that its statistics do not know yet PostgreSQL expects one row, and takes any index that begins with it. (SELECT …)
    keeps it from seeing which one it is.
    """
    return table.c.collection == select(literal(collection, BigInteger)).scalar_subquery()


def within(table: Table, collection: int) -> Any:
    """Condition: a row is of a collection; written so that it chooses no index, where numbers are asked for."""
    return table.c.collection + 0 == collection


def analyze(connection: Connection, collection: int, added: int) -> None:
    """Renew PostgreSQL's statistics whenever a collection has doubled: its own renewal comes too late for an intake that is under way.

    Not for a collection that is small beside all others: looking through the large tables takes a second, and changes little.
    """
    if not added:
        return
    names, value = schema.tallies.c.name, schema.tallies.c.value
    own = func.sum(case((schema.tallies.c.collection == collection, value), else_=0))
    query = select(own, func.sum(value)).where(or_(names == "images", names.like("kind:%")))
    after, every = (int(n or 0) for n in connection.execute(query).one())
    doubled = (after // _ANALYZED).bit_length() > ((after - added) // _ANALYZED).bit_length()
    if doubled and after * _SMALL >= every:
        for table in (schema.prompts, _images, schema.collected_feedback, schema.ranked_images, schema.unrated_images):
            connection.execute(text(f"ANALYZE {table.name}"))


def by_index(connection: Connection) -> None:
    """Let PostgreSQL look rows up one by one for the rest of a transaction.

    What is asked for here is hundreds of rows by their numbers. Where PostgreSQL takes it for more, as it does until its statistics are
    up to date, it reads millions for it.
    """
    if connection.dialect.name == "postgresql":
        names = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")
        connection.execute(text("SELECT " + ", ".join(f"set_config('{name}', 'off', true)" for name in names)))


def number_of_rater(connection: Connection, name: str) -> int | None:
    """Return a rater's number, ``None`` where nobody of that name has said anything."""
    found = connection.execute(select(schema.raters.c.number).where(schema.raters.c.name == rater_name(name))).scalar()
    return None if found is None else int(found)
