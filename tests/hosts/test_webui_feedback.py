"""Feedback on the webui's own images: what is noticed of what a person does with them, and what is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from tests.hosts.standin_webui import standin

SOURCES = tuple(IMPLICIT_WEIGHTS)


class Notes:
    """Keeps what is noted; ``error`` is raised instead."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str]] = []
        self.labels: dict[str, str] = {}
        self.error: Exception | None = None

    def note(self, file: Path, kind: str, source: str = "", rater: str = "me", prompt: str | None = None) -> None:
        assert file.is_file(), "the image must still be there to be taken in"
        if self.error:
            raise self.error
        self.all.append((file.name, kind, source))

    def label_of(self, files: Sequence[Path], rater: str = "me") -> list[str]:
        return [self.labels.get(file.name, "") for file in files]


class Webui:
    """Runs the hooks in the webui's order, over files that it writes."""

    def __init__(self, modules: Any, folder: Path) -> None:
        from lib_rankopt.hosts.webui import feedback, script

        self.state, self.options = modules.shared.state, modules.shared.opts.data
        self.opts, self.module = modules.shared.opts, feedback
        self.outputs, self.data = folder / "outputs", folder / "data"
        self.outputs.mkdir()
        self.notes = Notes()
        self.feedback = feedback.GalleryFeedback(lambda: self.notes, self.data)
        self.script = script.RankOptimizeScript()
        self.script.feedback = lambda: self.feedback  # type: ignore[method-assign]
        self.made = 0

    def switch(self, *sources: str) -> None:
        for source in SOURCES:
            self.options[f"rankopt_implicit_{source}"] = source in sources

    def save(self, p: Any, name: str, color: int, size: tuple[int, int] = (8, 8), **texts: str) -> Path:
        path, image = self.outputs / name, Image.new("RGB", size, (color % 256, 7, 7))
        image.save(path)
        self.feedback.image_saved(SimpleNamespace(p=p, filename=str(path), image=image, pnginfo=texts))
        return path

    def run(
        self,
        prompt: str = "a fox",
        batches: int = 2,
        seed: int | None = None,
        press: Callable[[int], None] = lambda _: None,
        hires: Callable[[int], None] | None = None,
        incomplete: bool = False,
        **about: Any,
    ) -> list[Path]:
        """One run of one image a batch. ``press`` is what the person does while a batch is sampled, ``hires`` in its second pass."""
        state, saved = self.state, list[Path]()
        state.interrupted = state.skipped = state.stopping_generation = False
        first = 1000 + 10 * self.made if seed is None else seed
        seeds = [first + n for n in range(batches)]
        p = SimpleNamespace(prompt=prompt, negative_prompt="", all_seeds=seeds, extra_generation_params={}, prompts=[prompt], **about)
        self.script.process(p)
        for n in range(batches):
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            press(n)
            self.made += 1
            if hires and not (state.interrupted or state.skipped):
                self.save(p, f"{self.made:05}-before-highres-fix.png", self.made)
                hires(n)
            self.script.post_sample(p, None)
            image = Image.new("RGB", (8, 8), (self.made % 256, 7, 7))
            self.script.postprocess_image_after_composite(p, SimpleNamespace(image=image))
            if incomplete or not (state.interrupted or state.skipped):
                saved.append(self.save(p, f"{self.made:05}.png", self.made, parameters=f"{prompt} {seeds[n]}"))
                self.save(p, f"{self.made:05}-mask.png", 1)
        self.save(p, f"grid-{self.made}.png", 0, (16, 16))
        self.script.postprocess(p, None)
        return saved

    def noted(self) -> list[tuple[str, str, str]]:
        assert self.feedback.wait(20)
        found, self.notes.all = self.notes.all, []
        return found


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webui]:
    with standin("scripts", "shared", "paths", "ui_components", "sd_samplers", "processing", "sd_models") as modules:
        made = Webui(modules, tmp_path)
        monkeypatch.setattr(made.module, "AT_ONCE_FROM", 0.0)
        monkeypatch.setattr(made.module, "LOOK_EVERY", 0.0)
        modules.shared.opts.outdir_samples = str(made.outputs)
        yield made
        made.feedback.wait()


# -- the settings
def test_everything_is_off_until_it_is_chosen_and_has_a_weight(webui: Webui) -> None:
    from lib_rankopt.hosts.webui import feedback_options

    added = dict[str, Any]()
    webui.opts.add_option = added.__setitem__
    feedback_options.add(("rankopt", "Rank-Optimize"), "slider", lambda: None)
    for source, weight in IMPLICIT_WEIGHTS.items():
        assert added[f"rankopt_implicit_{source}"].default is False
        slider = added[f"rankopt_implicit_{source}_weight"]
        assert (slider.default, slider.component) == (weight, "slider")
        assert (slider.component_args["minimum"], slider.component_args["maximum"]) == (0.0, 1.0)
    assert added["rankopt_gallery_likes"].default is True
    assert set(feedback_options.SOURCES) == set(IMPLICIT_WEIGHTS)
    assert all(not feedback_options.is_on(source) for source in (*SOURCES, "", "other"))


@pytest.mark.parametrize(("value", "weight"), [(0.25, 0.25), (7, 1.0), (-1, 0.0), ("x", 0.5), (float("nan"), 0.5), (None, 0.5)])
def test_a_weight_that_is_none_is_the_default(webui: Webui, value: Any, weight: float) -> None:
    from lib_rankopt.hosts.webui import feedback_options

    webui.options["rankopt_implicit_saved_weight"] = value
    assert feedback_options.weights()["saved"] == weight


def test_all_off_nothing_is_noticed_and_nothing_written(webui: Webui) -> None:
    webui.switch()
    files = webui.run(press=lambda n: setattr(webui.state, "stopping_generation", True))
    webui.run()
    files[0].unlink()
    webui.feedback.look()
    assert webui.noted() == []
    assert not webui.data.exists()


def test_a_page_with_old_settings_writes_nothing_that_is_off(webui: Webui) -> None:
    file = webui.outputs / "a.png"
    webui.switch("saved")
    assert webui.feedback.wants(file, "like", "saved")
    assert not webui.feedback.wants(file, "dislike", "saved")
    assert not webui.feedback.wants(file, "like", "sent")
    assert webui.feedback.wants(file, "unlike", "")


def test_the_host_finds_images_of_the_webuis_folders_alone(webui: Webui) -> None:
    from lib_rankopt.hosts.webui.host import WebuiHost

    webui.switch()
    (file, *_) = webui.run()
    host = WebuiHost(lambda _is_img2img: [0], webui.feedback)
    assert host.gallery_file(f"http://127.0.0.1:7860/file={file}?12.5") == file.resolve()
    assert host.implicit_weights() == dict(IMPLICIT_WEIGHTS)
    other = webui.data / "a.png"
    other.parent.mkdir()
    Image.new("RGB", (8, 8)).save(other)
    with pytest.raises(InvalidInputError, match="none of the webui's folders"):
        host.gallery_file(f"file={other}")


# -- interrupted
def test_the_batch_that_the_webui_still_finishes_is_disliked(webui: Webui) -> None:
    webui.switch("interrupted")
    files = webui.run(batches=4, press=lambda n: setattr(webui.state, "stopping_generation", n == 1))
    assert len(files) == 2
    assert webui.noted() == [(files[1].name, "dislike", "interrupted")]


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
@pytest.mark.parametrize("incomplete", [False, True])
def test_a_half_made_image_is_never_noted(webui: Webui, button: str, incomplete: bool) -> None:
    webui.switch(*SOURCES)
    webui.run(batches=2, press=lambda n: n == 1 and setattr(webui.state, button, True), incomplete=incomplete)
    assert webui.noted() == []
    assert len(list((webui.data / "held").glob("*.txt"))) == 1  # the whole one


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
def test_the_whole_image_before_hires_fix_stands_for_the_one_that_was_cut_short(webui: Webui, button: str) -> None:
    webui.switch("interrupted")
    webui.run(batches=2, hires=lambda n: n == 1 and setattr(webui.state, button, True))
    assert webui.noted() == [("00002-before-highres-fix.png", "dislike", "interrupted")]
    webui.run(batches=1, hires=lambda n: None)
    assert webui.noted() == []


# -- regenerated
def test_images_that_are_made_anew_at_once_are_disliked(webui: Webui) -> None:
    webui.switch("regenerated")
    files = webui.run()
    webui.run()
    assert webui.noted() == [(file.name, "dislike", "regenerated") for file in files]


@pytest.mark.parametrize(
    "second",
    [{"prompt": "a dog"}, {"seed": 1000}, {"is_api": True}, {"txt2img_upscale": True}, {"user": "other"}],
    ids=lambda second: next(iter(second)),
)  # fmt: skip
def test_another_prompt_the_same_seed_and_other_runs_dislike_nothing(webui: Webui, second: dict[str, Any]) -> None:
    webui.switch("regenerated")
    webui.run()
    webui.run(**second)
    assert webui.noted() == []


def test_only_soon_but_not_before_anybody_can_have_looked(webui: Webui, monkeypatch: pytest.MonkeyPatch) -> None:
    webui.switch("regenerated")
    now = [1000.0]
    monkeypatch.setattr(webui.module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(webui.module, "AT_ONCE_FROM", 3.0)
    webui.options["rankopt_regenerated_seconds"] = 10
    counted = []
    for passed in (0.5, 2.9, 3.1, 9.9, 10.1):
        now[0] += passed
        webui.run()
        counted.append(len(webui.noted()))
    assert counted == [0, 0, 2, 2, 0]


def test_something_good_that_was_done_protects_the_run(webui: Webui) -> None:
    webui.switch("regenerated")
    file = webui.run()[0]
    assert not webui.feedback.wants(file.resolve(), "like", "saved")  # off, and yet it was saved
    file = webui.run()[1]
    webui.notes.labels[file.name] = "like"
    webui.run()
    assert webui.noted() == []


def test_what_was_disliked_already_is_left_alone(webui: Webui) -> None:
    webui.switch("regenerated")
    files = webui.run()
    webui.notes.labels[files[0].name] = "dislike"
    webui.run()
    assert webui.noted() == [(files[1].name, "dislike", "regenerated")]


def test_a_stopped_run_is_not_regenerated(webui: Webui) -> None:
    webui.switch("regenerated")
    webui.run(press=lambda n: n == 1 and setattr(webui.state, "interrupted", True))
    webui.run()
    assert webui.noted() == []


# -- deleted
def test_a_deleted_image_is_disliked_once_and_let_go(webui: Webui) -> None:
    webui.switch("deleted")
    files = webui.run()
    assert webui.noted() == []
    files[0].unlink()
    webui.feedback.look()
    assert webui.noted() == [(files[0].name, "dislike", "deleted")]
    webui.feedback.look()
    assert webui.noted() == []
    assert [note.read_text() for note in (webui.data / "held").glob("*.txt")] == [str(files[1].resolve())]


def test_what_is_moved_or_cleared_away_with_its_folder_is_no_judgement(webui: Webui) -> None:
    webui.switch("deleted")
    files = webui.run()
    assert webui.noted() == []
    files[0].rename(webui.outputs.parent / "elsewhere.png")
    webui.feedback.look()
    assert webui.noted() == []
    for other in webui.outputs.iterdir():
        other.unlink()
    webui.outputs.rmdir()
    webui.feedback.look()
    assert webui.noted() == []


@pytest.mark.parametrize("said", ["like", "dislike"])
def test_what_was_said_goes_before_a_deletion(webui: Webui, said: str) -> None:
    webui.switch("deleted")
    first, second = webui.run()
    webui.feedback.wants(first.resolve(), said, "")
    webui.notes.labels[second.name] = said  # said on another page, or before a restart
    assert webui.noted() == []
    first.unlink()
    second.unlink()
    webui.feedback.look()
    assert webui.noted() == []


def test_after_two_weeks_or_switched_off_nothing_is_held(webui: Webui) -> None:
    webui.switch("deleted")
    files = webui.run()
    assert webui.noted() == []
    assert files[0].stat().st_nlink == 2
    note = next(one for one in (webui.data / "held").glob("*.txt") if one.read_text() == str(files[0].resolve()))
    os.utime(note, (time.time() - 15 * 86400,) * 2)
    files[0].unlink()
    webui.feedback.look()
    assert webui.noted() == []
    assert files[1].stat().st_nlink == 2
    webui.switch()
    webui.feedback.look()
    assert webui.noted() == []
    assert files[1].stat().st_nlink == 1
    assert not (webui.data / "held").exists()


def test_a_store_that_cannot_be_written_is_tried_again(webui: Webui) -> None:
    webui.switch("deleted")
    files = webui.run()
    assert webui.noted() == []
    files[0].unlink()
    webui.notes.error = StoreError("the disk is full")
    webui.feedback.look()
    assert webui.noted() == []
    webui.notes.error = None
    webui.feedback.look()
    assert webui.noted() == [(files[0].name, "dislike", "deleted")]


def test_where_no_second_name_can_be_given_images_are_made_all_the_same(
    webui: Webui, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    webui.switch("deleted")
    files = webui.run()
    assert webui.noted() == []
    files[0].unlink()
    webui.feedback.look()
    assert webui.noted() == []
    assert len([line for line in caplog.messages if "deleted images are not noticed" in line]) == 1


# -- favourites
@pytest.fixture
def favourites(webui: Webui, tmp_path: Path) -> Path:
    folder = tmp_path / "favourites"
    folder.mkdir()
    webui.options["rankopt_favourites_folder"] = str(folder)
    webui.switch("favourite", "deleted")
    return folder


def test_each_favourite_counts_once_also_after_a_restart(webui: Webui, favourites: Path) -> None:
    files = webui.run()
    assert webui.noted() == []
    (favourites / "sub").mkdir()
    (favourites / "sub/best.png").write_bytes(files[0].read_bytes())
    (favourites / "notes.txt").write_text("x")
    for _ in range(2):
        webui.feedback.look()
    assert webui.noted() == [("best.png", "like", "favourite")]
    webui.feedback = webui.module.GalleryFeedback(lambda: webui.notes, webui.data)
    webui.feedback.look()
    assert webui.noted() == []
    (favourites / "sub/best.png").write_bytes(files[1].read_bytes() + b" ")
    webui.feedback.look()
    assert webui.noted() == [("best.png", "like", "favourite")]


def test_a_favourite_whose_first_file_is_deleted_is_not_disliked(webui: Webui, favourites: Path) -> None:
    files = webui.run()
    assert webui.noted() == []
    (favourites / "best.png").write_bytes(files[0].read_bytes())
    files[0].unlink()
    webui.feedback.look()
    assert webui.noted() == [("best.png", "like", "favourite")]


def test_links_count_where_they_lead_to_the_webuis_images(webui: Webui, favourites: Path, tmp_path: Path) -> None:
    files = webui.run()
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    (favourites / "mine.png").symlink_to(files[0])
    (favourites / "private.png").symlink_to(tmp_path / "private.png")
    (favourites / "nowhere.png").symlink_to(tmp_path / "nowhere.png")
    webui.feedback.look()
    assert webui.noted() == [("mine.png", "like", "favourite")]


def test_one_bad_file_does_not_keep_the_others_out(webui: Webui, favourites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(favourites / name)
    note = webui.notes.note

    def refusing(file: Path, *args: Any) -> None:
        if file.name == "a.png":
            raise InvalidInputError("damaged")
        note(file, *args)

    monkeypatch.setattr(webui.notes, "note", refusing)
    webui.feedback.look()
    assert webui.noted() == [("b.png", "like", "favourite")]


@pytest.mark.parametrize("named", ["outputs", "outputs/..", "gone"])
def test_a_folder_that_holds_all_images_is_none_of_favourites(webui: Webui, favourites: Path, tmp_path: Path, named: str) -> None:
    webui.options["rankopt_favourites_folder"] = str(tmp_path / named)
    webui.run()
    webui.feedback.look()
    assert webui.noted() == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2, 3]}', json.dumps({"a": None})])
def test_a_damaged_ledger_counts_favourites_anew(webui: Webui, favourites: Path, text: str) -> None:
    Image.new("RGB", (8, 8)).save(favourites / "a.png")
    webui.data.mkdir()
    (webui.data / "favourites.json").write_text(text)
    webui.feedback.look()
    assert webui.noted() == [("a.png", "like", "favourite")]
    assert list(json.loads((webui.data / "favourites.json").read_text())) == [str(favourites / "a.png")]


# -- upscaled in Extras
def test_an_image_that_extras_makes_larger_is_liked(webui: Webui) -> None:
    webui.switch("upscaled")
    files = webui.run()
    made = {"parameters": "a fox 1001", "extras": "Postprocess upscale by: 4, Postprocess upscaler: Lanczos"}
    webui.save(None, "extras.png", 5, (32, 32), **made)
    webui.save(None, "faces.png", 5, (32, 32), parameters="a fox 1000", extras="GFPGAN visibility: 1.0")
    webui.save(None, "unknown.png", 5, (32, 32), parameters="a cat", extras=made["extras"])
    assert webui.noted() == [(files[1].name, "like", "upscaled")]
    webui.switch()
    webui.save(None, "extras.png", 5, (32, 32), **made)
    assert webui.noted() == []


# -- trouble
def test_whatever_goes_wrong_costs_no_image(webui: Webui, caplog: pytest.LogCaptureFixture) -> None:
    webui.switch("interrupted")
    for error in (StoreError("the disk is full"), RuntimeError("strange")):
        webui.notes.error = error
        assert len(webui.run(batches=2, press=lambda n: setattr(webui.state, "stopping_generation", n == 1))) == 2
        assert webui.noted() == []
        assert str(error) in caplog.text
