"""The board as a person uses it: what the tests press and what they see."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

READY = """number => document.querySelectorAll('.ro-grid .ro-card.ro-loaded:not(.ro-waiting)').length === number
    && document.querySelector('.ro-meta').textContent.startsWith('Round ')
    && !['queued', 'generating'].includes((rankopt.board.state.shown || {}).status)"""


class Board:
    """A page with the board on it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.set_default_timeout(60000)

    def open(self) -> None:
        """Load the page and wait for board and form."""
        self.page.goto(self.url)
        self.page.wait_for_selector(".ro-root .ro-studies > :not(.ro-waiting)", state="attached")
        self.page.wait_for_selector("#rankopt_prompt textarea", state="attached")

    def new_study(self, prompt: str) -> None:
        """Fill the prompt and start."""
        self.page.fill("#rankopt_prompt textarea", prompt)
        self.page.click("#rankopt_generate")
        self.page.wait_for_selector(".ro-page:not([hidden])")

    def wait_ready(self, number: int = 8) -> None:
        """Wait until so many images are finished and shown."""
        self.page.wait_for_function(READY, arg=number)

    def wait_round(self, number: int) -> None:
        """Wait until the round of this number is on screen, whole."""
        self.page.wait_for_function(
            "text => document.querySelector('.ro-meta').textContent.startsWith(text)", arg=f"Round {number} ·"
        )
        self.wait_ready()

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def wait_text(self, text: str, selector: str = ".ro-root") -> None:
        """Wait for a text."""
        self.page.wait_for_function(
            "([selector, text]) => [...document.querySelectorAll(selector)].some(one => one.textContent.includes(text))",
            arg=[selector, text],
        )

    def badges(self, scope: str = ".ro-grid .ro-card") -> list[str]:
        """What stands on the images, in screen order; empty where nothing does."""
        script = "cards => cards.map(card => card.querySelector('.ro-badge').textContent)"
        return self.page.eval_on_selector_all(scope, script)  # type: ignore[no-any-return]

    def ids(self) -> list[str]:
        """Candidates in screen order."""
        return self.page.eval_on_selector_all(".ro-grid .ro-card", "cards => cards.map(card => card.dataset.id)")  # type: ignore[no-any-return]

    @property
    def study(self) -> str:
        """Id of the open study."""
        return self.page.evaluate("rankopt.board.state.data.study.id")  # type: ignore[no-any-return]

    def api(self, path: str) -> Any:
        """Ask the server itself."""
        with urllib.request.urlopen(f"{self.url}rankopt/v1/{path}", timeout=10) as answer:
            return json.load(answer)

    def rounds(self) -> list[dict[str, Any]]:
        """The study's rounds as the server has them."""
        return self.api(f"studies/{self.study}/rounds")  # type: ignore[no-any-return]

    def settled(self) -> None:
        """Wait until nothing is on its way to the server."""
        self.page.wait_for_function("rankopt.board.state.sending === 0")
