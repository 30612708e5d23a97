"""``import``, ``export``, ``stats``, ``aggregate``, ``look`` and ``select`` as their user types them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.cli import main
from lib_rankopt.scorers import ScorerShelf
from tests.cli.conftest import Red, Run

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("a red square", "a blue <lora:x:1> square")


@pytest.fixture
def red(monkeypatch: pytest.MonkeyPatch) -> dict[str, Red]:
    """Scorers that stand in for those of the same names: of all images the reddest, and of all images the least red."""
    made = {"pickscore": Red("pickscore"), "aesthetic2": Red("aesthetic2", -2.0)}
    shelf = ScorerShelf(factories={name: lambda name=name: made[name] for name in made})
    monkeypatch.setattr("lib_rankopt.cli.select_scores.open_shelf", lambda *_arguments: shelf)
    return made


def save(path: Path, red: int, prompt: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    if prompt:
        info.add_text("parameters", f"{prompt}\nNegative prompt: green\nSteps: 3, Seed: {red}, Size: 8x8")
    Image.new("RGB", (8, 8), (red, 0, 9)).save(path, pnginfo=info)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images of two prompts, red 0, 20 … 220; the first three in a folder of favourites."""
    for i in range(12):
        save(tmp_path / "in" / ("favourites" if i < 3 else "") / f"{i:02d}.png", 20 * i, PROMPTS[i % 2])
    return tmp_path / "in"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def kto(folder: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    path = folder / "train_processed_v3.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption", "split"])
        writer.writerows(rows)
    return path


# -- import, stats


def test_import_guesses_and_adds_nothing_twice(run: Run, images: Path) -> None:
    code, out, _ = run("import", "auto", images, "--name", "mine", "--set", "likes=favourites")
    assert code == 0
    assert "12 new images, 3 new answers" in out
    assert "12 here, 0 gone, 0 changed" in out
    code, out, _ = run("import", "folder", images, "--name", "mine", "--set", "likes=favourites", "--json")
    report = lines(out)[-1]["report"]
    assert (report["images"], report["known_images"], report["feedback"], report["known_feedback"]) == (0, 12, 0, 3)
    save(images / "03a.png", 5, PROMPTS[0])  # in the middle of what was read
    _, out, _ = run("import", "folder", images, "--name", "mine", "--set", "likes=favourites", "--json")
    assert lines(out)[-1]["report"]["images"] == 1
    _, out, _ = run("stats", "--json")
    (one,) = lines(out)[0]["collections"]
    assert (one["name"], one["images"], one["prompts"], one["feedback"], one["files"]) == ("mine", 13, 2, {"like": 3}, {"here": 13})
    code, out, _ = run("stats")
    assert out.splitlines()[1].split()[:5] == ["1", "mine", "folder", "13", "2"]


def test_bad_rows_are_said_and_the_others_go_in(run: Run, images: Path) -> None:
    path = kto(images, [("03.png", "x", "exclusive_win"), ("../out.png", "x", "exclusive_win"), ("04.png", "x", "perhaps")])
    code, out, err = run("import", "kto", path, "--no-look")
    assert code == 1
    assert "1 new answers" in out
    assert "2 rows had problems" in err
    assert "train_processed_v3.csv, line 3" in err
    code, out, _ = run("import", "kto", path, "--no-look", "--json", "--name", "again")
    assert code == 1
    report = lines(out)[-1]["report"]
    assert (report["problems"], len(report["first_problems"]), sum(report["by_reason"].values())) == (2, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "import FORMAT PATH"),
        (("folder", "none"), "no file or folder"),
        (("nonsense", "."), "no format 'nonsense'"),
        (("folder", ".", "--set", "likes"), "name=value"),
        (("folder", ".", "--set", "x=1"), "no option 'x'"),
    ],
)
def test_import_that_cannot_be(arguments: tuple[str, ...], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("import", *arguments)
    assert code == 2
    assert said in err


def test_a_name_is_one_data_set(run: Run, images: Path, tmp_path: Path) -> None:
    run("import", "folder", images, "--no-look")
    save(tmp_path / "other" / "in" / "a.png", 3)
    code, _, err = run("import", "folder", tmp_path / "other" / "in")
    assert code == 2
    assert "another name" in err
    (tmp_path / "notes.xyz").write_text("x")
    code, _, err = run("import", "auto", tmp_path / "notes.xyz")
    assert code == 2
    assert "cannot be told" in err


def test_formats_are_listed(run: Run) -> None:
    code, out, _ = run("import", "--list", "--json")
    assert code == 0
    listed = {line["name"]: line for line in lines(out)}
    assert {"kto", "pickapic", "dro", "folder", "archive"} <= set(listed)
    assert "likes" in listed["folder"]["options"]
    assert listed["kto"]["loses"]
    assert "cannot hold" in run("import", "--list")[1]


def test_stats_need_no_torch(images: Path, run: Run, tmp_path: Path) -> None:
    run("import", "folder", images, "--no-look")
    code = "import sys; sys.argv = ['x', *sys.argv[1:]]\ntry:\n import lib_rankopt.__main__\nfinally:\n print('torch' in sys.modules)"
    for command in (["stats"], ["aggregate", "--json"], ["look"], ["export", "jsonl", str(tmp_path / "out")]):
        given = [sys.executable, "-c", code, "--data-dir", str(tmp_path / "data"), *command]
        done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "False", (command, done.stderr)


def test_nothing_yet(run: Run) -> None:
    assert "Nothing yet" in run("stats")[1]
    assert "No collections yet" in run("look")[1]
    for command in (("aggregate",), ("export", "jsonl", "out"), ("select", "--by", "ratings", "--top", "1"), ("stats", "--from", "x")):
        assert run(*command)[0] == 2


# -- export, aggregate, look


def test_what_goes_out_comes_in(run: Run, images: Path, tmp_path: Path) -> None:
    run("import", "folder", images, "--name", "mine", "--set", "likes=favourites", "--set", "dislikes=none")
    code, out, err = run("export", "jsonl", tmp_path / "out", "--from", "mine")
    assert code == 0
    assert "12 images and 3 answers" in out
    code, out, _ = run("import", "auto", tmp_path / "out", "--json")
    assert code == 0
    assert lines(out)[-1]["report"]["images"] == 12
    assert lines(out)[-1]["report"]["feedback"] == 3
    code, _, err = run("export", "jsonl", tmp_path / "out")
    assert code == 2
    assert "nothing is written over" in err
    code, out, err = run("export", "kto", tmp_path / "kto", "--from", "1", "--json")
    report = lines(out)[-1]["report"]
    assert report["feedback"] == 3
    assert sum(report["left_out"].values()) == 9  # images that nobody judged
    assert run("export", "jsonl", tmp_path / "new", "--from", "nobody")[0] == 2


def test_strengths_follow_from_likes_and_are_written(run: Run, images: Path, tmp_path: Path) -> None:
    run("import", "folder", images, "--name", "mine", "--set", "likes=favourites", "--no-look")
    code, out, _ = run("aggregate", "--json", "--raters", "--out", tmp_path / "r.csv")
    assert code == 0
    *rows, last = lines(out)
    assert [row["image"] for row in rows] == [f"favourites/0{i}.png" for i in range(3)]
    assert all(row["low"] < row["mean"] < row["high"] and row["likes"] == 1 for row in rows)
    assert last["summary"]["images"] == 12
    assert last["summary"]["answers"] == 3
    assert last["summary"]["raters"]["pairs"] == 0
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 12
    assert [row["image"] for row in written[:3]] == [row["image"] for row in rows]
    assert run("aggregate", "--out", tmp_path / "r.json")[0] == 0
    assert [row["image"] for row in json.loads((tmp_path / "r.json").read_text())] == [row["image"] for row in written]
    assert run("aggregate", "--out", tmp_path / "r.txt")[0] == 2


def test_agreement_of_raters(run: Run, images: Path) -> None:
    names = [f"{i:02d}.png" for i in range(3, 6)]
    said = [{"images": names, "prompt": "x", "rater": "Ann"}, {"images": names[::-1], "prompt": "x", "rater": "Bo"}]
    (images / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in said), encoding="utf-8")
    run("import", "auto", images, "--no-look")
    code, out, _ = run("aggregate", "--raters", "--json")
    assert code == 0
    raters = lines(out)[-1]["summary"]["raters"]
    assert (raters["pairs"], raters["shared"], raters["equal"]["share"]) == (3, 3, 0.0)
    assert {one["rater"] for one in raters["each"]} == {"Ann", "Bo"}
    assert "0 %" in run("aggregate", "--raters")[1]


def test_look_finds_moved_images(run: Run, images: Path, tmp_path: Path) -> None:
    run("import", "folder", images, "--name", "mine")
    (images / "05.png").rename(images / "moved.png")
    save(images / "06.png", 7, "another")
    (images / "07.png").rename(tmp_path / "far.png")
    code, out, _ = run("look", "--from", "mine", "--json")
    assert code == 1
    report = lines(out)[-1]["report"]
    assert (report["here"], report["gone"], report["changed"], report["found"]) == (10, 1, 1, 1)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "far.png").rename(tmp_path / "elsewhere" / "far.png")
    code, out, _ = run("look", "--search", tmp_path / "elsewhere")
    assert code == 1
    assert "11 here, 0 gone, 1 changed, 1 found again elsewhere" in out
    assert run("look", "--search", tmp_path / "none")[0] == 2


# -- select


def chosen(out: str) -> list[str]:
    return [Path(line["file"]).name for line in lines(out) if "rank" in line]


def test_the_best_of_a_folder(run: Run, images: Path, red: dict[str, Red]) -> None:
    code, out, _ = run("select", "--from", images, "--scorer", "pickscore", "--top", 3, "--json")
    assert code == 0
    assert chosen(out) == ["11.png", "10.png", "09.png"]
    assert lines(out)[0]["prompt"] == PROMPTS[1]
    summary = lines(out)[-1]["summary"]
    assert (summary["selected"], summary["candidates"], summary["mean_selected"], summary["mean_all"]) == (3, 12, 200.0, 110.0)
    _, out, _ = run("select", "--from", images, "--scorer", "pickscore", "--per-prompt", 2, "--json")
    assert chosen(out) == ["11.png", "10.png", "09.png", "08.png"]
    _, out, _ = run("select", "--from", f"folder:{images}", "--scorer", "pickscore,aesthetic2", "--top", 1, "--json")
    assert lines(out)[0]["score"] == pytest.approx(0.0)  # the two cancel out, so the name decides
    assert chosen(out) == ["03.png"]


def test_a_run_that_was_stopped_goes_on(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    for i in range(30):
        save(images / "more" / f"{i}.png", i, "more")
    command = ("select", "--from", images, "--scorer", "pickscore", "--top", 2, "--out", tmp_path / "s.jsonl", "--json")
    red["pickscore"].most = 20
    assert run(*command)[0] == 130
    red["pickscore"].most, red["pickscore"].scored = 10**6, 0
    code, out, _ = run(*command)
    assert code == 0
    assert red["pickscore"].scored == 42 - lines(out)[-1]["summary"]["known"]
    assert lines(out)[-1]["summary"]["known"] == 16
    red["pickscore"].scored = 0
    assert chosen(run(*command)[1]) == chosen(out) == ["11.png", "10.png"]
    assert red["pickscore"].scored == 0


def test_to_diffusion_dro_and_back(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    code, _, err = run("select", "--from", images, "--scorer", "pickscore", "--top", 2, "--to", tmp_path / "best")
    assert code == 0
    assert "2 images in Diffusion-DRO" in err
    folders = sorted(one for one in (tmp_path / "best").iterdir() if one.is_dir())
    pixels = [Image.open(next(folder.glob("*.png"))).getpixel((0, 0))[0] for folder in folders]
    assert pixels == [220, 200]
    assert (folders[0] / "caption.txt").read_text() == PROMPTS[1]
    assert list(json.loads((tmp_path / "best" / "pickscore.json").read_text()).values()) == [220.0, 200.0]
    _, out, _ = run("select", "--from", tmp_path / "best", "--scores-from", tmp_path / "best" / "pickscore.json", "--top", 1, "--json")
    assert lines(out)[0]["score"] == 220.0
    assert run("select", "--from", images, "--scorer", "pickscore", "--top", 2, "--to", tmp_path / "best")[0] == 2


def test_into_a_collection_and_by_ratings(run: Run, images: Path, red: dict[str, Red]) -> None:
    run("import", "folder", images, "--name", "mine", "--set", "likes=favourites")
    command = ("select", "--from", "mine", "--scorer", "pickscore", "--per-prompt", 1, "--collection", "best")
    assert run(*command)[0] == 0
    found = {one["name"]: one for one in lines(run("stats", "--json")[1])[0]["collections"]}
    assert (found["best"]["images"], found["best"]["feedback"], found["best"]["raters"]) == (2, {"like": 2}, {"pickscore": 2})
    assert found["best"]["files"] == {"here": 2}
    code, _, err = run(*command)
    assert code == 2
    assert "already" in err
    _, out, _ = run("select", "--from", "mine", "--by", "ratings", "--top", 5, "--json")
    assert chosen(out) == ["00.png", "01.png", "02.png"]
    _, out, _ = run("select", "--from", "mine", "--no-preferred", "--scorer", "aesthetic2", "--top", 1, "--json")
    assert chosen(out) == ["03.png"]
    _, out, _ = run("select", "--from", "mine", "--preferred", "--scorer", "pickscore", "--top", 1, "--json")
    assert chosen(out) == ["02.png"]


def test_an_image_under_two_captions_is_two_candidates(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    rows = [("03.png", "x", "exclusive_win"), ("03.png", "y", "exclusive_lose"), ("04.png", "y", "exclusive_win")]
    path = kto(images, rows)
    (images / "c.jsonl").write_text(json.dumps({"03.png": {"x": 60.0, "y": 61.0}}) + "\n")
    command = ("select", "--from", f"kto:{path}", "--scorer", "pickscore", "--per-prompt", 1, "--json")
    _, out, _ = run(*command, "--scores-to", tmp_path / "s.jsonl")
    assert [(Path(one["file"]).name, one["prompt"]) for one in lines(out) if "rank" in one] == [("04.png", "y"), ("03.png", "x")]
    assert lines((tmp_path / "s.jsonl").read_text()) == [
        {"03.png": {"x": 60.0}}, {"03.png": {"y": 60.0}}, {"04.png": {"y": 80.0}}
    ]  # fmt: skip
    _, out, _ = run(*command, "--scores-from", images / "c.jsonl", "--preferred")
    assert [one["score"] for one in lines(out) if "rank" in one] == [80.0, 60.0]


def test_scores_of_another_scale_are_not_mixed(run: Run, images: Path, red: dict[str, Red], tmp_path: Path) -> None:
    (tmp_path / "hps.json").write_text(json.dumps({"04.png": 8000.0}))
    command = ("select", "--from", images, "--scorer", "pickscore", "--top", 1)
    code, _, err = run(*command, "--scores-from", tmp_path / "hps.json")
    assert code == 2
    assert "scales cannot be mixed" in err
    everything = {one.relative_to(images).as_posix(): 1.0 for one in images.rglob("*.png")}
    (tmp_path / "all.json").write_text(json.dumps({**everything, "04.png": 8000.0}))
    red["pickscore"].scored = 0
    assert chosen(run(*command, "--scores-from", tmp_path / "all.json", "--json")[1]) == ["04.png"]
    assert red["pickscore"].scored == 0


def test_the_benchmark_of_hpdv2(run: Run, red: dict[str, Red], tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    for style in ("anime", "photo"):
        (tmp_path / "benchmark" / f"{style}.json").write_text(json.dumps(["a fox", "a house"]))
        for m, model in enumerate(("A", "B")):
            for i in range(2):
                save(tmp_path / "images" / model / style / f"{i:05d}.png", 10 * (style == "anime") + 3 * (m == i) + i)
    save(tmp_path / "images" / "A" / "photo" / "00002.png", 200)  # there is no third prompt
    command = ("select", "--from", tmp_path / "images", "--benchmark-prompts", tmp_path / "benchmark", "--scorer", "pickscore")
    code, out, _ = run(*command, "--json")
    assert code == 1
    found = [("/".join(Path(one["file"]).parts[-3:]), one["prompt"]) for one in lines(out) if "rank" in one]
    assert found == [
        ("B/anime/00001.png", "a house"), ("A/anime/00000.png", "a fox"), ("B/photo/00001.png", "a house"), ("A/photo/00000.png", "a fox")
    ]  # fmt: skip
    assert lines(out)[-1]["summary"]["unreadable_rows"] == 1


def test_images_without_a_score_are_counted(run: Run, images: Path, red: dict[str, Red]) -> None:
    (images / "12.png").write_bytes((images / "11.png").read_bytes()[:60])
    save(images / "13.png", 250)  # no prompt
    code, out, _ = run("select", "--from", images, "--scorer", "pickscore", "--top", 1, "--json")
    assert code == 1
    assert chosen(out) == ["11.png"]
    summary = lines(out)[-1]["summary"]
    assert (summary["without_score"], summary["unreadable_rows"]) == (1, 1)
    assert "no prompt" in summary["first_error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--top", "1"), "Best by what"),
        (("--scorer", "pickscore"), "How many"),
        (("--scorer", "pickscore", "--top", "0"), "How many"),
        (("--scorer", "pickscore", "--top", "-1"), "at least 1"),
        (("--scorer", "nobody", "--top", "1"), "nobody"),
        (("--by", "ratings", "--scorer", "pickscore", "--top", "1"), "leave --scorer"),
        (("--scorer", "pickscore", "--top", "1", "--to", "a", "b", "c"), "a format and a path"),
        (("--scorer", "pickscore", "--top", "1", "--set", "top=1"), "--to"),
        (("--scorer", "pickscore", "--top", "1", "--from", "nothing"), "Nor is there a file"),
        (("--scorer", "pickscore,aesthetic2", "--top", "1", "--scores-to", "x.json"), "one scorer"),
        (("--scorer", "pickscore", "--top", "1", "--scores-to", "x.csv"), "as .json"),
        (("--scores-from", "none.json", "--top", "1"), "cannot be read"),
    ],
)
def test_select_that_cannot_be(arguments: tuple[str, ...], said: str, run: Run, images: Path, red: dict[str, Red]) -> None:
    given = arguments if "--from" in arguments else ("--from", str(images), *arguments)
    code, _, err = run("select", *given)
    assert code == 2
    assert said in err
    assert not any(one.scored for one in red.values())


def test_two_processes_select_once(
    run: Run, images: Path, red: dict[str, Red], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("select", "--from", images, "--scorer", "pickscore", "--top", 3, "--out", tmp_path / "s.jsonl", "--json")
    target = ("--to", tmp_path / "best")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    code, out, _ = run(*command, *target)
    assert (code, out) == (0, "")
    assert not (tmp_path / "best").exists()
    monkeypatch.setenv("RANK", "0")
    code, out, _ = run(*command, *target)
    assert code == 0
    assert chosen(out) == ["11.png", "10.png", "09.png"]
    assert red["pickscore"].scored == 12
    assert len(list((tmp_path / "best").glob("*/*.png"))) == 3
    monkeypatch.delenv("WORLD_SIZE")
    assert chosen(run(*command)[1]) == ["11.png", "10.png", "09.png"]  # one process finds the others' files
    assert red["pickscore"].scored == 12
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run("select", "--from", images, "--scorer", "pickscore", "--top", 3)[0] == 2  # without --out they cannot meet


@pytest.mark.slow
@pytest.mark.parametrize(
    "launch",
    [
        ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"],
        ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
         "--dynamo_backend", "no", "--main_process_port", "0"],
    ],
    ids=["torchrun", "accelerate"],
)  # fmt: skip
def test_under_a_launcher(launch: list[str], images: Path, tmp_path: Path) -> None:
    """Two real processes, with the embedded scorer, against one."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    own = ["-m", "lib_rankopt", "--data-dir", str(tmp_path / "data"), "--device", "cpu", "select", "--from", str(images)]
    own += ["--scorer", "clip", "--top", "4", "--json"]
    found = []
    for given in (["-m", *launch, *own, "--out", str(tmp_path / "two.jsonl")], own):
        done = subprocess.run([sys.executable, *given], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        found.append(chosen(done.stdout))
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_a_study_is_packed_and_unpacked_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lib_rankopt.store import BlobStore, open_store
    from tests.store.collected.test_dataset import a_study

    store = open_store(tmp_path / "here")
    study = a_study(store, BlobStore(tmp_path / "here"))
    store.close()
    file = tmp_path / "fox.rankopt.zip"
    assert main(["--data-dir", str(tmp_path / "here"), "studies", "pack", "foxes", str(file), "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert (packed["study"], packed["images"], len(packed["missing"])) == (study.id, 3, 4)  # its latents were never kept
    for is_new in (True, False):
        assert main(["--data-dir", str(tmp_path / "there"), "studies", "unpack", str(file), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"study": study.id, "name": "foxes", "new": is_new}
    there = open_store(tmp_path / "there")
    assert [event.kind for event in there.events(study.id)] == ["ranking", "like", "dislike"]
    there.close()
