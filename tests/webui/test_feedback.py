"""♥ and ✗ below the real webui's galleries, and what a person does there that counts, down to the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.store import open_store
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from tests.webui.conftest import Webui

pytestmark = [pytest.mark.timeout(600), pytest.mark.browser]
PROMPT = "a 3d fox on a blue background"

Event = tuple[str, str, str]


class Gallery:
    """txt2img in a browser, and what the store has of it."""

    def __init__(self, page: Any, webui: Webui) -> None:
        self.page, self.webui = page, webui
        self.errors = list[str]()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.seen = len(self.events())

    def switch(self, *sources: str, **options: Any) -> None:
        self.webui.call("POST", "sdapi/v1/options", {f"rankopt_implicit_{one}": one in sources for one in IMPLICIT_WEIGHTS} | options)

    def open(self, batches: int = 2) -> None:
        self.page.goto(self.webui.url)
        self.page.wait_for_selector("#txt2img_generate", state="visible")
        self.page.wait_for_selector("#txt2img_rankopt_like", state="visible")
        for field, value in {"width": 64, "height": 64, "steps": 4, "batch_count": batches}.items():
            self.page.fill(f"#txt2img_{field} input[type=number]", str(value))
        self.page.fill("#txt2img_prompt textarea", PROMPT)
        self.page.wait_for_timeout(800)  # the webui takes the prompt in after a while

    def generate(self, seed: int = -1) -> list[Path]:
        before = set(self.files())
        self.page.fill("#txt2img_seed input", str(seed))
        self.page.click("#txt2img_generate")
        self.page.wait_for_selector("#txt2img_interrupt", state="visible")
        self.page.wait_for_selector("#txt2img_interrupt", state="hidden", timeout=60_000)
        found = sorted(set(self.files()) - before)
        self.page.wait_for_selector(f"#txt2img_gallery .grid-container img[src*='{found[-1].name}']", state="attached")
        return found

    def files(self) -> list[Path]:
        return list((self.webui.data / "outputs/txt2img-images").rglob("*.png"))

    def choose(self, file: Path) -> None:
        row = self.page.locator(f"#txt2img_gallery .thumbnails .thumbnail-item:has(img[src*='{file.name}'])")
        large = self.page.locator(f"#txt2img_gallery .grid-container .thumbnail-item:has(img[src*='{file.name}'])")
        (row if row.count() else large).click()
        self.page.wait_for_selector(f"#txt2img_gallery .selected img[src*='{file.name}']", state="attached")

    def shows(self, like: bool, dislike: bool) -> None:
        wanted = {"like": str(like).lower(), "dislike": str(dislike).lower()}
        pressed = " ".join(f"#txt2img_rankopt_{kind}[aria-pressed={on}]" for kind, on in wanted.items())
        self.page.wait_for_function("text => text.split(' ').every((one) => document.querySelector(one))", arg=pressed, timeout=10_000)

    def events(self) -> list[Event]:
        """Kind, source and file name, in order."""
        if not (self.webui.data / "rankopt").is_dir():
            return []
        store = open_store(self.webui.data / "rankopt", None)
        try:
            collected = store.collected
            found = [event for one in collected.collections() for event in collected.feedback(one.number)]
            images = collected.images_by_number([int(event.images[0]) for event in found])
            return [(event.kind, event.source, str(images[int(event.images[0])].about["file"])) for event in found]
        finally:
            store.close()

    def new(self, count: int = 0) -> list[Event]:
        """What has come since; waits for ``count`` of them."""
        until = time.monotonic() + 15
        while len(found := self.events()[self.seen :]) < count and time.monotonic() < until:
            time.sleep(0.2)
        if not count:
            time.sleep(1.5)
            found = self.events()[self.seen :]
        self.seen += len(found)
        return found


@pytest.fixture
def gallery(webui: Webui, browser: Any) -> Iterator[Gallery]:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    made = Gallery(page, webui)
    made.switch()
    yield made
    made.switch()
    page.close()
    # the webui's own on Generate
    assert [error for error in made.errors if "reading 'props'" not in error] == []


def test_a_like_goes_from_the_button_to_the_store_and_comes_back_by_content(gallery: Gallery) -> None:
    gallery.open()
    first, second = gallery.generate(seed=4242)
    gallery.choose(first)
    gallery.page.click("#txt2img_rankopt_like")
    gallery.shows(like=True, dislike=False)
    gallery.choose(second)
    gallery.shows(like=False, dislike=False)
    gallery.page.keyboard.press("d")
    gallery.shows(like=False, dislike=True)
    assert gallery.new(2) == [("like", "", first.name), ("dislike", "", second.name)]
    gallery.open()
    again = gallery.generate(seed=4242)  # other files of the same pictures, on a new page
    gallery.choose(again[0])
    gallery.shows(like=True, dislike=False)
    gallery.page.click("#txt2img_rankopt_like")
    gallery.shows(like=False, dislike=False)
    assert [event[:2] for event in gallery.new(1)] == [("unlike", "")]


def test_keys_are_letters_while_somebody_writes_and_work_in_the_full_size_view(gallery: Gallery) -> None:
    gallery.open()
    first, second = gallery.generate()
    gallery.choose(first)
    gallery.page.click("#txt2img_prompt textarea")
    gallery.page.keyboard.type("ld")
    assert "ld" in gallery.page.input_value("#txt2img_prompt textarea")
    gallery.page.click("#txt2img_gallery .preview > img, #txt2img_gallery .preview img[data-testid=detailed-image]")
    gallery.page.wait_for_selector("#lightboxModal", state="visible")
    gallery.page.keyboard.press("ArrowRight")
    gallery.page.wait_for_function("name => document.getElementById('modalImage').src.includes(name)", arg=second.name)
    gallery.page.keyboard.press("l")
    gallery.page.wait_for_selector(".rankopt-badge[data-label=like]", state="visible")
    gallery.page.keyboard.press("Escape")
    assert gallery.new(1) == [("like", "", second.name)]


def test_a_grid_is_not_labelled(gallery: Gallery) -> None:
    gallery.open()
    gallery.generate()
    gallery.page.locator("#txt2img_gallery .grid-container .thumbnail-item, #txt2img_gallery .thumbnails .thumbnail-item").last.wait_for()
    (gallery.page.locator("#txt2img_gallery .thumbnails .thumbnail-item").first).click()
    gallery.page.wait_for_selector("#txt2img_rankopt_like[title^='This is a grid']")
    gallery.page.keyboard.press("l")
    assert gallery.new() == []


def test_saving_counts_only_when_it_is_switched_on(gallery: Gallery) -> None:
    gallery.open()
    first, second = gallery.generate()
    gallery.choose(first)
    gallery.page.click("#save_txt2img")
    assert gallery.new() == []
    gallery.switch("saved")
    gallery.page.reload()
    gallery.open()
    first, second = gallery.generate()
    gallery.choose(second)
    gallery.page.click("#save_txt2img")
    assert gallery.new(1) == [("like", "saved", second.name)]
    gallery.switch()  # the page does not know yet
    gallery.choose(first)
    gallery.page.click("#save_txt2img")
    assert gallery.new() == []


def test_sending_and_upscaling_count(gallery: Gallery) -> None:
    gallery.switch("sent", "upscaled")
    gallery.open()
    first, second = gallery.generate()
    gallery.choose(first)
    gallery.page.click("#txt2img_send_to_extras")
    assert gallery.new(1) == [("like", "sent", first.name)]
    gallery.page.click("#tabs > .tab-nav > button:has-text('txt2img')")
    gallery.choose(second)
    gallery.page.click("#txt2img_upscale")
    assert gallery.new(1) == [("like", "upscaled", second.name)]
    gallery.page.wait_for_selector("#txt2img_interrupt", state="hidden", timeout=60_000)


def test_what_is_deleted_and_what_becomes_a_favourite(gallery: Gallery, tmp_path: Path) -> None:
    gallery.switch("deleted", "favourite", rankopt_favourites_folder=str(tmp_path))
    gallery.open(batches=3)
    first, second, third = gallery.generate()
    (tmp_path / "best.png").write_bytes(first.read_bytes())
    first.unlink()
    second.unlink()
    third.rename(gallery.webui.data / "moved.png")
    gallery.switch("deleted", "favourite", rankopt_favourites_folder=f"{tmp_path}/")  # a change of settings looks at once
    assert sorted(gallery.new(2)) == [("dislike", "deleted", second.name), ("like", "favourite", "best.png")]
    gallery.switch(rankopt_favourites_folder="")
    assert gallery.new() == []
    assert not (gallery.webui.data / "rankopt/webui/held").exists()


def test_an_interrupt_dislikes_what_the_webui_finished_and_never_half_an_image(gallery: Gallery) -> None:
    for finishes, count in ((True, 1), (False, 0)):
        gallery.switch("interrupted", interrupt_after_current=finishes)
        gallery.open(batches=3)
        gallery.page.fill("#txt2img_steps input[type=number]", "150")
        gallery.page.click("#txt2img_generate")
        gallery.page.wait_for_function("() => /[0-9]%/.test(document.querySelector('.progressDiv')?.textContent)", timeout=30_000)
        gallery.page.click("#txt2img_interrupt")
        gallery.page.wait_for_selector("#txt2img_interrupting", state="hidden", timeout=60_000)
        assert [event[:2] for event in gallery.new(count)] == [("dislike", "interrupted")] * count
    gallery.switch(interrupt_after_current=True)


def test_generate_again_at_once_dislikes_and_forever_does_not(gallery: Gallery) -> None:
    gallery.switch("regenerated")
    gallery.open()
    first = gallery.generate()
    gallery.page.wait_for_timeout(3200)
    gallery.generate()
    assert gallery.new(2) == [("dislike", "regenerated", file.name) for file in first]
    gallery.page.wait_for_timeout(21_000)  # nobody is there any more
    made = len(gallery.files())
    gallery.page.evaluate(FOREVER)
    gallery.page.wait_for_timeout(8000)
    gallery.page.evaluate("clearInterval(window.rankoptForever)")
    gallery.page.wait_for_selector("#txt2img_interrupt", state="hidden", timeout=60_000)
    assert len(gallery.files()) >= made + 4
    assert gallery.new() == []


# as the webui's own menu of the button does it
FOREVER = """() => {
    const button = document.querySelector('#txt2img_generate'), stop = document.querySelector('#txt2img_interrupt');
    window.rankoptForever = setInterval(() => { if (!stop.offsetParent) button.click(); }, 500);
}"""


def test_switched_off_nothing_of_it_is_on_the_page(gallery: Gallery) -> None:
    gallery.switch(rankopt_gallery_likes=False)
    gallery.page.goto(gallery.webui.url)
    gallery.page.wait_for_function("rankopt.gallery && Object.keys(opts).length")
    gallery.page.wait_for_timeout(1000)
    assert gallery.page.locator(".rankopt-mark, .rankopt-said, .rankopt-badge").count() == 0
    assert gallery.page.evaluate("[rankopt.gallery.api, rankopt.gallery.observers.length]") == [None, 0]
    gallery.switch(rankopt_gallery_likes=True)
