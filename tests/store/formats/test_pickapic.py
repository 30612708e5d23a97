"""Pick-a-Pic's parquet."""

from __future__ import annotations

import builtins
import io
import struct
import zlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_rankopt.errors import InvalidInputError, MissingDependencyError
from lib_rankopt.store import formats
from lib_rankopt.store.formats import pickapic_write, shapes
from lib_rankopt.store.formats.base import Row, WriteReport
from lib_rankopt.store.formats.writing import GONE
from tests.store.formats.conformance import Case, FormatConformance, as_pairs, check
from tests.store.formats.datasets import key_of, picture, small

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SCHEMA = pa.schema(
    [
        ("are_different", pa.bool_()),
        ("best_image_uid", pa.string()),
        ("caption", pa.string()),
        ("created_at", pa.timestamp("ns")),
        ("has_label", pa.bool_()),
        ("image_0_uid", pa.string()),
        ("image_0_url", pa.string()),
        ("image_1_uid", pa.string()),
        ("image_1_url", pa.string()),
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("ranking_id", pa.int64()),
        ("user_id", pa.int64()),
        ("num_example_per_prompt", pa.int64()),
        ("__index_level_0__", pa.int64()),
    ]
)
COMPARED = {key_of(n) for n in (1, 2, 3, 4, 5, 6, 8)}


def published(
    n: int, label: tuple[float | None, float | None] = (1.0, 0.0), data: bytes = b"\xff\xd8\xff jpeg", **changes: Any
) -> dict[str, Any]:
    """A row as the data set has it."""
    made = {
        "are_different": True,
        "best_image_uid": f"uid-{n}-{0 if label[0] == 1 else 1}",
        "caption": f"caption {n // 2}",
        "created_at": datetime(2023, 4, 1, 12, 30, 5, 250),
        "has_label": True,
        "model_0": "stabilityai/stable-diffusion-2-1",
        "model_1": "dreamlike-art/dreamlike-photoreal-2.0",
        "ranking_id": 1000 + n // 3,
        "user_id": n % 5,
        "num_example_per_prompt": 2,
        "__index_level_0__": n,
        "label_0": label[0],
        "label_1": label[1],
    }
    for i in (0, 1):
        made |= {
            f"image_{i}_uid": f"uid-{n}-{i}",
            f"image_{i}_url": f"https://example.org/{n}-{i}.jpg",
            f"jpg_{i}": data + b"%d-%d" % (n, i),
        }
    return {**made, **changes}


def write(path: Path, rows: list[dict[str, Any]], schema: Any = SCHEMA, group: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)
    return path


def without_images() -> Any:
    return pa.schema([field for field in SCHEMA if not field.name.startswith("jpg_")])


def many(folder: Path, rows: int) -> Path:
    with pq.ParquetWriter(folder / "train-00000.parquet", SCHEMA) as writer:
        for start in range(0, rows, 500):
            some = [published(n, data=bytes(2000)) for n in range(start, min(start + 500, rows))]
            writer.write_table(pa.Table.from_pylist(some, schema=SCHEMA))
    return folder


def read(path: Path, after: int = 0) -> list[Row]:
    rows = list(formats.get("pickapic").rows(path, after=after))
    for row in rows:
        check(row, path)
    return rows


class TestPickAPic(FormatConformance):
    case = Case(
        "pickapic", expected=as_pairs, keeps=("prompt", "created_at"), images=lambda _: COMPARED, needs="pyarrow", many=many, more=6000
    )


class TestPickAPicShards(FormatConformance):
    case = Case("pickapic", {"shard_mb": "1", "split": "test"}, expected=as_pairs, images=lambda _: COMPARED, needs="pyarrow")


class TestPickAPicNoImages(FormatConformance):
    case = Case(
        "pickapic",
        {"images": "no"},
        expected=lambda dataset: as_pairs(everything(dataset)),
        keeps=("prompt", "created_at"),
        images=lambda _: COMPARED | {key_of(9)},
        reads_images=False,
        needs="pyarrow",
    )


def everything(dataset: Any) -> Any:
    """Without images it is no harm that one is gone."""
    dataset.files[key_of(9)] = b""
    return dataset


def test_a_published_row_is_kept_whole(tmp_path: Path) -> None:
    row, lost, tie, unlabelled = read(
        write(
            tmp_path / "train-00000-of-00645.parquet",
            [
                published(0),
                published(1, (0.0, 1.0)),
                published(2, (0.5, 0.5), best_image_uid="none"),
                published(3, (None, None), has_label=False),
            ],
        )
    )
    first, second = row.images
    assert (first.key, first.prompt, first.model) == ("uid-0-0", "caption 0", "stabilityai/stable-diffusion-2-1")
    assert first.data == b"\xff\xd8\xff jpeg0-0"
    assert second.about == {"url": "https://example.org/0-1.jpg"}
    (said,) = row.feedback
    assert (said.kind, said.images, said.tiers) == ("pair", ("uid-0-0", "uid-0-1"), ((0,), (1,)))
    assert (said.rater, said.created_at, said.prompt) == ("0", "2023-04-01T12:30:05.000250+00:00", "caption 0")
    assert said.about == {"are_different": True, "ranking_id": 1000, "num_example_per_prompt": 2, "__index_level_0__": 0}
    assert lost.feedback[0].tiers == ((1,), (0,))
    assert tie.feedback[0].tiers == ((0, 1),)
    assert tie.feedback[0].about["best_image_uid"] == "none"
    assert not unlabelled.feedback
    assert len(unlabelled.images) == 2
    assert not any(r.problem for r in (row, lost, tie, unlabelled))


def test_the_variant_without_images(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "x.parquet", [published(0)], without_images()))
    assert [image.data for image in row.images] == [None, None]
    assert row.feedback[0].images == ("uid-0-0", "uid-0-1")


def test_the_four_columns_of_a_subset_suffice(tmp_path: Path) -> None:
    """As the trainer of Diffusion-DPO takes them: jpg_0, jpg_1, label_0, caption."""
    schema = pa.schema([field for field in SCHEMA if field.name in ("jpg_0", "jpg_1", "label_0", "caption")])
    rows = read(write(tmp_path / "x.parquet", [published(0), published(1, (0.0, 1.0)), published(1, (0.5, 0.5))], schema))
    assert [row.feedback[0].tiers for row in rows] == [((0,), (1,)), ((1,), (0,)), ((0, 1),)]
    assert len({row.feedback[0].token for row in rows}) == 3
    assert rows[1].images[0].key == rows[2].images[0].key != rows[0].images[0].key


@pytest.mark.parametrize(
    "changes",
    [
        {"label_0": 1.0, "label_1": 1.0},
        {"label_0": float("nan"), "label_1": 0.0},
        {"label_0": 0.7, "label_1": 0.3},
        {"image_1_uid": "uid-1-0"},
        {"image_0_uid": None, "jpg_0": None},
    ],
)
def test_bad_rows_are_named_and_the_others_go_in(tmp_path: Path, changes: dict[str, Any]) -> None:
    rows = read(write(tmp_path / "x.parquet", [published(0), published(1, **changes), published(2)]))
    assert [bool(row.problem) for row in rows] == [False, True, False]
    assert rows[1].place == "x.parquet, row 2"
    assert [len(row.feedback) for row in rows] == [1, 0, 1]


def test_odd_types_are_taken_or_told(tmp_path: Path) -> None:
    """Images as the library datasets has them, times as text, ids that are no hashes and no whole numbers, a caption of 100 kB."""
    rows = [
        {
            "jpg_0": {"bytes": b"a", "path": None},
            "jpg_1": {"bytes": b"b", "path": "x"},
            "label_0": 1,
            "caption": "ü" * 100_000,
            "created_at": "2023-01-01",
        }
        | {"image_0_uid": "no hash", "image_1_uid": "…", "ranking_id": 10.5, "user_id": "anna"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (row,) = read(tmp_path / "x.parquet")
    assert row.images[1].data == b"b"
    assert row.feedback[0].tiers == ((0,), (1,))
    assert row.feedback[0].rater == "anna"
    assert row.feedback[0].created_at == "2023-01-01T00:00:00+00:00"
    wrong = [{"jpg_0": "text", "jpg_1": "text", "label_0": "x", "caption": 5, "image_0_uid": 1, "image_1_uid": 2}]
    pq.write_table(pa.Table.from_pylist(wrong), tmp_path / "y.parquet")
    (row,) = read(tmp_path / "y.parquet")
    assert row.problem
    assert not row.feedback


def test_captions_in_another_encoding(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([published(0), published(1)], schema=SCHEMA)
    raw = pa.array([b"F\xfcchse", "Füchse".encode()], pa.binary())
    view = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(table.set_column(SCHEMA.get_field_index("caption"), "caption", view), tmp_path / "x.parquet")
    assert [row.images[0].prompt for row in read(tmp_path / "x.parquet")] == ["Füchse", "Füchse"]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"a": 1}]), tmp_path / "x.parquet")
    with pytest.raises(InvalidInputError, match="label_0"):
        formats.get("pickapic").size(tmp_path / "x.parquet")
    with pytest.raises(InvalidInputError, match="label_0"):
        read(tmp_path / "x.parquet")


def test_shards_are_one_data_set_and_a_truncated_one_is_a_problem_of_its_own(tmp_path: Path) -> None:
    for shard in range(4):
        write(tmp_path / "data" / f"train-0000{shard}-of-00004.parquet", [published(n) for n in range(shard * 5, shard * 5 + 5)], group=2)
    broken = tmp_path / "data" / "train-00001-of-00004.parquet"
    broken.write_bytes(broken.read_bytes()[:-100])
    rows = read(tmp_path)
    assert [row.images[0].key for row in rows if row.images] == [f"uid-{n}-0" for n in (*range(5), *range(10, 20))]
    (problem,) = [row for row in rows if row.problem]
    assert problem.place == broken.name
    assert "no whole parquet file" in problem.problem
    assert rows[-1].done == formats.get("pickapic").size(tmp_path) == 16
    for after in range(17):
        assert read(tmp_path, after) == [row for row in rows if row.done > after]


def test_a_damaged_row_group_is_told_and_the_next_one_goes_in(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [published(n, data=bytes(range(256)) * 40) for n in range(9)], group=3)
    column = pq.ParquetFile(path).metadata.row_group(1).column(SCHEMA.get_field_index("jpg_0"))
    raw = bytearray(path.read_bytes())
    raw[column.data_page_offset : column.data_page_offset + 200] = bytes(200)
    path.write_bytes(raw)
    rows = read(path)
    assert [row.images[0].key for row in rows if row.images] == [f"uid-{n}-0" for n in (0, 1, 2, 6, 7, 8)]
    assert [row.place for row in rows if row.problem] == ["x.parquet, row group 1"]
    assert rows[-1].done == 9


def test_the_same_row_twice_has_two_tokens_also_when_the_import_goes_on(tmp_path: Path) -> None:
    rows = [published(0), published(0), published(1), published(0)]
    path = write(tmp_path / "x.parquet", rows, group=1)
    tokens = [row.feedback[0].token for row in read(path)]
    assert len(set(tokens)) == 4
    assert [row.feedback[0].token for row in read(path, 3)] == tokens[3:]


def test_rows_without_names_keep_their_tokens_when_the_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_BITS", 6)  # so that nearly everything is suspected to have been there before
    schema = pa.schema([field for field in SCHEMA if field.name in ("jpg_0", "jpg_1", "label_0", "caption")])
    path = write(tmp_path / "x.parquet", [published(n) for n in range(60)], schema, group=7)
    tokens = [row.feedback[0].token for row in read(path)]
    assert len(set(tokens)) == 60
    assert [row.feedback[0].token for row in read(path, 30)] == tokens[30:]


def test_a_rater_who_is_no_number_is_nobody(tmp_path: Path) -> None:
    """As pandas writes a column of whole numbers with one missing."""
    schema = SCHEMA.set(SCHEMA.get_field_index("user_id"), pa.field("user_id", pa.float64()))
    first, second = read(write(tmp_path / "x.parquet", [published(0, user_id=float("nan")), published(1, user_id=None)], schema))
    assert (first.feedback[0].rater, second.feedback[0].rater) == ("", "")


def test_memory_of_arrow_is_flat(tmp_path: Path) -> None:
    """A shard of 60 MB in one row group, as large as a writer makes them, is never in memory as a whole."""
    with pq.ParquetWriter(tmp_path / "x.parquet", SCHEMA, compression="none", use_dictionary=False, write_batch_size=8) as writer:
        table = pa.Table.from_pylist([published(n, data=bytes([n % 251]) * 100_000) for n in range(300)], schema=SCHEMA)
        writer.write_table(table, row_group_size=300)
    del table
    before, most = pa.total_allocated_bytes(), 0
    for _ in formats.get("pickapic").rows(tmp_path / "x.parquet"):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 25 << 20


def test_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_arrow(name: str, *args: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_arrow)
    made = formats.get("pickapic")
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        next(made.rows(tmp_path))
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        next(made.write(small(), tmp_path / "out", WriteReport()))


# -- writing
@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, WriteReport]:
    report = WriteReport()
    list(formats.get("pickapic").write(small(), tmp_path / "out", report))
    return tmp_path / "out", report


def test_written_files_have_the_published_schema(written: tuple[Path, WriteReport]) -> None:
    assert pq.read_schema(written[0] / "train-00000.parquet").equals(SCHEMA)


def test_the_trainer_of_diffusion_dpo_reads_what_is_written(written: tuple[Path, WriteReport]) -> None:
    """It decodes jpg_0 and jpg_1, leaves out labels but 0 and 1, and puts the second image first where label_0 is 0."""
    table = pq.read_table(written[0], columns=["jpg_0", "jpg_1", "label_0", "caption"]).to_pylist()
    strict = [row for row in table if row["label_0"] in (0, 1)]
    assert (len(table), len(strict)) == (12, 9)
    for row in table:
        assert all(Image.open(io.BytesIO(row[name])).format == "JPEG" for name in ("jpg_0", "jpg_1"))
    winner = Image.open(io.BytesIO(strict[1]["jpg_0" if strict[1]["label_0"] == 1 else "jpg_1"])).convert("RGB")
    assert sum(abs(a - b) for a, b in zip(winner.getpixel((5, 5)), (240, 240, 240), strict=True)) < 12  # picture 6


def test_a_ranking_is_pairs_with_one_id(written: tuple[Path, WriteReport]) -> None:
    table = pq.read_table(written[0]).to_pylist()
    by_ranking: dict[int, int] = {}
    for row in table:
        by_ranking[row["ranking_id"]] = by_ranking.get(row["ranking_id"], 0) + 1
        assert row["label_0"] + row["label_1"] == 1
    assert sorted(by_ranking.values()) == [1, 1, 1, 3, 6]
    assert {row["num_example_per_prompt"] for row in table if row["caption"] == "a red house"} == {9}


def test_jpegs_go_through_and_others_are_said_to_be_encoded(written: tuple[Path, WriteReport]) -> None:
    found = {row[f"image_{i}_uid"]: row[f"jpg_{i}"] for row in pq.read_table(written[0]).to_pylist() for i in (0, 1)}
    assert found[key_of(1)] == picture(1, "JPEG")
    assert found[key_of(5)] == picture(5, "JPEG")
    report = written[1]
    assert report.left_out[pickapic_write.ENCODED] == 5
    assert report.images == 7
    assert report.feedback == 5


def test_raters_with_numbers_that_are_too_long_are_told_apart(tmp_path: Path) -> None:
    dataset = small()
    pair, *_ = dataset.answers
    raters = ("7", "-7", "9" * 19, "-" + "1" * 25, "-" + "1" * 26, "0" * 24 + "5", "0" * 24 + "6")
    dataset.answers = [replace(pair, rater=rater, token=f"t{n}") for n, rater in enumerate(raters)]
    list(formats.get("pickapic").write(dataset, tmp_path / "out", WriteReport()))
    written = pq.read_table(tmp_path / "out").column("user_id").to_pylist()
    assert written[:2] == [7, -7]
    assert len(set(written)) == len(raters)


def test_an_image_that_does_harm_is_left_out_of_what_is_written(tmp_path: Path) -> None:
    """A PNG whose head says that it has 400 million pixels; Pillow's error for it is of no family."""
    parts = (b"IHDR" + struct.pack(">II", 20_000, 20_000) + b"\x08\x02\0\0\0", b"IDAT" + zlib.compress(bytes(9)), b"IEND")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    dataset, report = small(), WriteReport()
    dataset.files[key_of(2)] = b"".join((b"\x89PNG\r\n\x1a\n", *chunks))
    list(formats.get("pickapic").write(dataset, tmp_path / "out", report))
    assert report.left_out[GONE] == 2  # this one, and the one that is gone
    assert pq.read_table(tmp_path / "out").num_rows == 10


def test_published_rows_come_back_through_a_data_set(tmp_path: Path) -> None:
    source = [
        published(0, data=picture(0, "JPEG")),
        published(1, (0.5, 0.5), data=picture(1, "JPEG"), best_image_uid="none"),
        published(2, (0.0, 1.0)),
    ]
    first = read(write(tmp_path / "x.parquet", source))
    dataset = small()
    dataset.entries = [image for row in first for image in row.images]
    dataset.answers = [answer for row in first for answer in row.feedback]
    dataset.files = {image.key: image.data for image in dataset.entries if image.data}
    list(formats.get("pickapic").write(dataset, tmp_path / "out", WriteReport()))
    changed = [{**row, "num_example_per_prompt": 2 if n < 2 else 1} for n, row in enumerate(source)]
    assert pq.read_table(tmp_path / "out").select(SCHEMA.names).to_pylist() == changed


def test_shards_and_row_groups_are_bounded(tmp_path: Path) -> None:
    dataset = small()
    dataset.files = {key: b"\xff\xd8\xff" + bytes(200_000) + key.encode() for key in dataset.files}
    dataset.answers = [answer for answer in dataset.answers if len(answer.images) > 1] * 1
    report = WriteReport()
    list(formats.get("pickapic", shard_mb="1").write(dataset, tmp_path / "out", report))
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [f"train-0000{i}.parquet" for i in range(4)]
    assert report.files == files
    assert sum(pq.read_metadata(tmp_path / "out" / name).num_rows for name in files) == 12


@pytest.mark.parametrize(
    ("name", "value"), [("images", "maybe"), ("shard_mb", "0"), ("shard_mb", "x"), ("shard_mb", "9" * 30), ("split", "all")]
)
def test_options_are_checked(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        formats.get("pickapic", **{name: value})
