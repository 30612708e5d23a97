"""Collected images and feedback at scale: intake, pages, next comparison, appending, counts; SQLite and PostgreSQL.

    python -m benchmarks.store_scale [--images 40000] [--feedback 200000] [--database-url URL] [--order data|random] [--delete]

Made data: every image belongs to one of ``--prompts`` prompts (default: a fifth of the images), answers are labels, pairs and rankings by
nine raters, in batches of 5,000 rows as an import makes them. ``--order data``: answers are about images that came shortly before, as in
the published sets; ``random``: about any. Each figure stands beside a limit or peer that is measured in the same run on the same disk:

* intake, also of a csv by its reader: ``sqlite3.executemany`` (or ``COPY``) into one bare table without any index, synced as often;
* page of 100: ``SELECT`` of 100 rows by primary key, through the bare driver;
* appending: a bare ``INSERT`` with the same durability;
* bytes into the data folder: copying the same bytes from file to file, synced.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._made_data import BATCH, RARE_RATER, Made, made
from benchmarks._memory import peak_mib
from benchmarks._rates import Rate, Taken, line, percentiles
from lib_rankopt.store import Store, open_store
from lib_rankopt.store.collected import derive
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft, ImageQuery

GOALS = {"page": 50.0, "next": 100.0, "stats": 1000.0}
_NAME = "made"


# -- intake
def intake(store: Store, collection: int, data: Made, label: str, bare: Rate) -> None:
    """Time the batches' way into the store, without making them, and the growth of memory."""
    rate, first_peak, tenth = Rate(), 0.0, max(data.images, data.feedback) // 10
    mark = time.perf_counter()
    for at, (images, answers) in enumerate(data.batches()):
        # one row of a csv is one image and one answer, or one of them
        rate.take(lambda i=images, a=answers, at=at: store.collected.add(collection, i, a, at), max(len(images), len(answers)))  # type: ignore[misc]
        if not first_peak and rate.rows >= tenth:
            first_peak = peak_mib()
        if time.perf_counter() - mark > 60:
            mark = time.perf_counter()
            rate.say(f"   … {rate.rows:,} rows")
    rate.say(f"{label} intake", bare)
    print(f"{label + ' peak memory after 10 % and 100 %':<64}{first_peak:9.0f} MiB   {peak_mib():9.0f} MiB", flush=True)


def csv_file(store: Store, folder: Path, data: Made, label: str, bare: Rate, rows: int) -> None:
    """A csv of labels as Diffusion-KTO has it, one new image and one answer a row, read into a collection beside the large one."""
    from lib_rankopt.store import formats
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.store.collected.intake import take_in

    for name in ("", ", each row its own prompt"):
        path = folder / f"{label} train.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "caption", "split"])
            for at in range(rows):
                image = data.image(at % data.images)
                prompt = f"{image.prompt}, {time.time()} {at}" if name else image.prompt
                writer.writerow([f"{at}.png", prompt, ("exclusive_win", "exclusive_lose")[at % 2]])
        collection = store.collected.create(Collection(f"csv {label}{name} {time.time()}", format="kto", root=str(folder)))
        rate = Rate()
        reports = take_in(store.collected, HeldFiles(folder), collection, formats.get("kto"), path)
        rate.take(lambda reports=reports: list(reports), rows)  # type: ignore[misc]
        if store.collected.tallies(collection.number)["images"] != rows:
            raise SystemExit("the csv was not read in full")
        rate.say(f"{label} csv (kto) of {rows:,} rows on top{name}", bare)


def files(folder: Path) -> None:
    """Bytes of images into the data folder, against copying the same bytes from file to file."""
    from lib_rankopt.store.collected.files import HeldFiles

    pick, count, size = random.Random(3), 400, 200_000
    head = b"\x89PNG\r\n\x1a\n"
    every = [head + pick.randbytes(size - len(head)) for _ in range(count)]
    (folder / "all").write_bytes(b"".join(every))
    begin = time.perf_counter()
    with (folder / "all").open("rb") as source, (folder / "copy").open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    copied = count * size / (time.perf_counter() - begin) / 1e6
    held = HeldFiles(folder / "held").batch()
    begin = time.perf_counter()
    for data in every:
        held.put(data)
    held.sync()
    kept = count * size / (time.perf_counter() - begin) / 1e6
    name = f"bytes of {count} images of {size // 1000} kB into the data folder"
    print(f"{name:<64}{kept:9.1f} MB/s   {kept / copied:5.2f} x copying one file ({copied:,.0f} MB/s)", flush=True)


def bare_rows(data: Made, count: int) -> list[list[tuple[Any, ...]]]:
    """Batches of rows of one flat table with the same content: an image and an answer each."""
    found = []
    for start in range(0, count, BATCH):
        rows = []
        for at in range(start, min(count, start + BATCH)):
            image = data.image(at % data.images)
            rows.append((at, 1, image.key, image.prompt, image.path, 512, 512, image.model, "like", at, 3, f"answer {at}", 1_700_000_000))
        found.append(rows)
    return found


_BARE = "number, collection, key, prompt, path, width, height, model, kind, image, rater, token, created_at"
_BARE_TABLE = (
    "CREATE TABLE bare (number BIGINT PRIMARY KEY, collection INT, key TEXT, prompt TEXT, path TEXT, width INT, height INT, model TEXT, "
    "kind TEXT, image BIGINT, rater INT, token TEXT, created_at BIGINT)"
)


def bare_sqlite(folder: Path, data: Made) -> tuple[Rate, Taken, Taken]:
    """Rows per second into one table, and milliseconds of 100 rows by primary key and of one synced insert."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bare.sqlite3").unlink(missing_ok=True)
    connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_BARE_TABLE.replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY"))
    batches, rate = bare_rows(data, 50_000), Rate()

    def insert(rows: list[tuple[Any, ...]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO bare ({_BARE}) VALUES ({', '.join('?' * 13)})", rows)
        connection.execute("COMMIT")

    for rows in batches:
        rate.take(lambda rows=rows: insert(rows), len(rows))  # type: ignore[misc]
    query = f"SELECT * FROM bare WHERE number IN ({', '.join('?' * 100)})"
    page = percentiles(lambda at: connection.execute(query, [(at * 997 + 31 * i) % 50_000 for i in range(100)]).fetchall(), 200)
    append = percentiles(lambda at: connection.execute(f"INSERT INTO bare ({_BARE}) VALUES ({', '.join('?' * 13)})",
                                                       (50_000 + at, *batches[0][0][1:])), 100)  # fmt: skip
    connection.close()
    return rate, page, append


def bare_postgres(url: str, data: Made) -> tuple[Rate, Taken, Taken]:
    """As :func:`bare_sqlite`, with ``COPY``."""
    import psycopg

    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
        connection.execute(_BARE_TABLE)
        batches, rate = bare_rows(data, 50_000), Rate()

        def insert_rows(rows: list[tuple[Any, ...]]) -> None:
            with connection.transaction(), connection.cursor() as cursor, cursor.copy(f"COPY bare ({_BARE}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

        for rows in batches:
            rate.take(lambda rows=rows: insert_rows(rows), len(rows))  # type: ignore[misc]
        query = "SELECT * FROM bare WHERE number = ANY(%s)"
        page = percentiles(lambda at: connection.execute(query, ([(at * 997 + 31 * i) % 50_000 for i in range(100)],)).fetchall(), 200)
        insert = f"INSERT INTO bare ({_BARE}) VALUES ({', '.join(['%s'] * 13)})"
        append = percentiles(lambda at: connection.execute(insert, (50_000 + at, *batches[0][0][1:])), 100)
        connection.execute("DROP TABLE bare")
    return rate, page, append


# -- reading
def queries(store: Store, collection: int, data: Made) -> dict[str, ImageQuery]:
    """One query for each kind of condition."""
    of = {"collection": collection}
    first = store.collected.page(ImageQuery(collection))[0]
    prompts = data.prompts
    rare = " ".join(data.prompt(prompts // 2).split()[:2])
    return {
        "no condition": ImageQuery(**of),
        "all collections": ImageQuery(),
        "frequent word": ImageQuery(**of, prompt=data.words[0]),
        "rare words": ImageQuery(**of, prompt=rare),
        "part of a word": ImageQuery(**of, prompt=data.words[-1][1:]),
        "text that no prompt has": ImageQuery(**of, prompt="zzzz yyyy"),
        "two letters": ImageQuery(**of, prompt=data.words[3][:2]),
        "one prompt": ImageQuery(**of, prompt_number=_prompt_number(store, first.number)),
        "liked": ImageQuery(**of, label="like"),
        "disliked": ImageQuery(**of, label="dislike"),
        "rated": ImageQuery(**of, label="rated"),
        "compared": ImageQuery(**of, label="compared"),
        "unrated (1 %)": ImageQuery(**of, label="unrated"),
        "by a rater of a ninth of all": ImageQuery(**of, rater="anna"),
        "by a rater of few answers": ImageQuery(**of, rater=RARE_RATER),
        "liked by a rater": ImageQuery(**of, rater="ben", label="like"),
        "unrated by a rater": ImageQuery(**of, rater="ben", label="unrated"),
        "of a model": ImageQuery(**of, model="model-2"),
        "of a rare model": ImageQuery(**of, model="model-rare"),
        "removed (none)": ImageQuery(**of, state="removed"),
        "liked, of a rare model": ImageQuery(**of, model="model-rare", label="like"),
        "liked, frequent word, by a rater": ImageQuery(**of, rater="carl", label="like", prompt=data.words[0]),
    }


def _prompt_number(store: Store, image: int) -> int:
    return store.collected.ratings_of([image])[image].prompt


def pages(store: Store, collection: int, data: Made, label: str, base: Taken, times: int) -> None:
    """First and deep page of each query."""
    last = max(store.collected.ratings(collection, data.images - 2), key=lambda one: one.image, default=None)
    deep = int(0.9 * (last.image if last else data.images))
    for name, query in queries(store, collection, data).items():
        for where, after in (("first", 0), ("deep", deep)):
            asked = replace(query, after=after)
            found = len(store.collected.page(asked))
            taken = percentiles(lambda _, asked=asked: store.collected.page(asked), times)  # type: ignore[misc]
            line(f"{label} page: {name}, {where} ({found})", taken, base, GOALS["page"])

    def shown(at: int) -> int:
        images = store.collected.page(ImageQuery(collection, after=deep // 50 * (at % 50)))
        numbers = [one.number for one in images]
        said = store.collected.feedback_of(numbers)
        return len(derive.net_labels(said)) + len(derive.comparisons(said)) + len(store.collected.ratings_of(numbers))

    line(f"{label} page with all that was said, as it is shown", percentiles(shown, times), base, GOALS["page"])


def next_comparison(store: Store, collection: int, at: int) -> int:
    """What choosing the next pair reads: the uncertain ones, those like the first, and what was compared among them."""
    from itertools import combinations

    pool = {one.image: one for one in store.collected.uncertain(collection, 64)}
    first = list(pool.values())[at % len(pool)]
    pool.update({one.image: one for one in store.collected.near(collection, first.mean, 64)})
    done = set()
    for said in store.collected.feedback_of(list(pool)):
        if said.kind in ("pair", "ranking"):
            done.update(tuple(sorted(two)) for two in combinations(said.images, 2))
    return sum(1 for two in combinations(sorted(pool), 2) if two not in done)


def answers(store: Store, collection: int, label: str, base: Taken, bare: Taken, times: int) -> None:
    """Next comparison, one answer with its ratings, undo, counts."""
    line(f"{label} next comparison", percentiles(lambda at: next_comparison(store, collection, at), times), base, GOALS["next"])
    page = [image.number for image in store.collected.page(ImageQuery(collection, limit=1000))]
    numbers = []

    def append(at: int) -> None:
        two = (page[at % 500], page[500 + at % 500])
        said = store.collected.append(collection, FeedbackDraft("pair", two, ((0,), (1,)), f"{label} click {at}", rater="anna"))
        numbers.append(said.number)

    line(f"{label} appending one answer", percentiles(append, times), bare)
    undo = percentiles(
        lambda at: store.collected.append(collection, FeedbackDraft("retraction", retracts=numbers[at], token=f"{label} undo {at}")), times
    )
    line(f"{label} taking one back", undo, bare)

    def put(at: int) -> None:
        two = store.collected.ratings_of([page[at % 500], page[500 + at % 500]])
        store.collected.put_ratings(collection, [replace(one, mean=at / 100, sd=0.9, games=1) for one in two.values()])

    line(f"{label} keeping two ratings", percentiles(put, times), bare)
    line(f"{label} counts (stats)", percentiles(lambda _: store.collected.tallies(collection), times), base, GOALS["stats"])
    line(f"{label} counts of all collections", percentiles(lambda _: store.collected.tallies(), times), base, GOALS["stats"])
    line(f"{label} 1000 answers by number", percentiles(lambda at: store.collected.feedback(collection, at * 997), times), base)


def deletion(store: Store, collection: int, label: str, bare: Taken, seconds: float = 20.0) -> None:
    """Deleting the large collection, for so long, and the answers of somebody who goes on ranking another one meanwhile."""
    other = store.collected.create(Collection(f"{label} other {time.time()}")).number
    store.collected.add(other, [ImageDraft(f"{at}", "a fox") for at in range(10)])
    images = [one.number for one in store.collected.page(ImageQuery(other))]
    done, waits = threading.Event(), []

    def answer() -> None:
        while not done.is_set():
            begin, busy = time.perf_counter(), time.thread_time()
            said = FeedbackDraft("like", (images[len(waits) % 10],), ((0,),), f"{label} {len(waits)}")
            store.collected.append(other, said)
            waits.append((1000 * (time.perf_counter() - begin), 1000 * (time.thread_time() - busy)))
            time.sleep(0.1)

    person = threading.Thread(target=answer)
    person.start()
    begin = time.perf_counter()
    store.collected.begin_deletion(collection)
    hidden = time.perf_counter() - begin
    rate, slowest = Rate(), 0.0
    while time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        rows = []
        rate.take(lambda rows=rows: rows.append(store.collected.delete_some(collection).rows), 0)  # type: ignore[misc]
        rate.rows += rows[0]
        slowest = max(slowest, time.perf_counter() - before)
        if not rows[0]:
            break
    done.set()
    person.join()
    print(f"{label + ' hiding a collection that is deleted':<64}{1000 * hidden:9.0f} ms", flush=True)
    rate.say(f"{label} deleting it, slowest piece {slowest:.2f} s")
    wall, busy = (sorted(times) for times in zip(*waits, strict=True))
    taken = Taken(statistics.median(wall), wall[int(0.95 * len(wall))], statistics.median(busy))
    line(f"{label} one answer meanwhile, slowest {wall[-1]:.0f} ms", taken, bare)


def measure(label: str, folder: Path, url: str | None, data: Made, times: int, delete: bool) -> None:
    """All figures of one database."""
    rate, page, append = bare_postgres(url, data) if url else bare_sqlite(folder, data)
    rate.say(f"{label} limit: one bare table, synced as often")
    line(f"{label} limit: 100 rows by primary key", page, page)
    line(f"{label} limit: one synced insert", append, append)
    store = open_store(folder / label, url)
    known = [one.number for one in store.collected.collections() if one.name == _NAME]
    collection = known[0] if known else store.collected.create(Collection(_NAME)).number
    if not known:
        intake(store, collection, data, label, rate)
    csv_file(store, folder, data, label, rate, min(100_000, data.images))
    begin = time.perf_counter()
    seeded = store.collected.seed_ratings(collection)
    print(f"{label + f' ratings for {seeded:,} images':<64}{1000 * (time.perf_counter() - begin):9.0f} ms", flush=True)
    pages(store, collection, data, label, page, times)
    answers(store, collection, label, page, append, times)
    if delete:
        deletion(store, collection, label, append)
    store.close()
    if not url:
        size = sum(file.stat().st_size for file in (folder / label).iterdir())
        print(f"{label + ' size on disk':<64}{size / 2**20:9.0f} MiB   {size / (data.images + data.feedback):5.0f} bytes a row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--feedback", type=int, default=200_000)
    parser.add_argument("--prompts", type=int, default=0, help="different prompts; default: a fifth of the images")
    parser.add_argument("--order", choices=("data", "random"), default="data")
    parser.add_argument("--times", type=int, default=30, help="calls of each kind")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--database-url", help="an empty PostgreSQL database to measure, instead of a server of its own")
    parser.add_argument("--delete", action="store_true", help="at last, delete the collection, and answer about another one meanwhile")
    parser.add_argument("--folder", type=Path, help="keeps the SQLite file; one that is there is read, not made again")
    given = parser.parse_args()
    data = made(given.images, given.feedback, given.prompts, given.order)
    print(f"{data.images:,} images of {data.prompts:,} prompts, {data.feedback:,} answers, order: {data.order}", flush=True)
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        files(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.folder))))
        if given.database != "postgresql":
            measure("sqlite", folder, None, data, given.times, given.delete)
        if given.database != "sqlite" and (url := given.database_url or _server(stack)):
            measure("postgresql", folder, url, data, given.times, given.delete)


def _server(stack: ExitStack) -> str | None:
    from tests.store import postgres

    try:
        return stack.enter_context(postgres.database(stack.enter_context(postgres.server(durable=True))))
    except postgres.Unavailable as why:
        print(f"postgresql: not measured: {why}")
        return None


if __name__ == "__main__":
    main()
