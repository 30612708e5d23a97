"""What differs between gradio 3.41, 4.40 and 6, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

MAJOR = int(gr.__version__.split(".")[0])
SCRIPT = "_js" if MAJOR < 4 else "js"  # keyword of a JavaScript function at an event
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")


def theme() -> Any:
    """Gradio's default look with the system's fonts: no request leaves the machine."""
    return gr.themes.Default(font=FONTS, font_mono=("ui-monospace", "Consolas", "monospace"))


def blocks(title: str, themed: bool) -> gr.Blocks:
    """Open a page; ``themed`` is for a page of our own (the webui brings its theme)."""
    options: dict[str, Any] = {"title": title, "analytics_enabled": False}
    if themed and "theme" in inspect.signature(gr.Blocks.__init__).parameters:
        options["theme"] = theme()
    return gr.Blocks(**options)


def mount_options() -> dict[str, Any]:
    """Options of ``gr.mount_gradio_app`` that only some versions have."""
    known = inspect.signature(gr.mount_gradio_app).parameters
    wanted = {"theme": theme() if "theme" in known else None, "ssr_mode": False, "show_error": True}
    return {name: value for name, value in wanted.items() if name in known}


def run_script(event: Callable[..., Any], script: str, inputs: Sequence[Any]) -> None:
    """On an event, call a JavaScript function with the components' values; nothing goes to the server."""
    event(fn=None, inputs=list(inputs), outputs=[], **{SCRIPT: script})


def logged_in(app: Any) -> Callable[[Any], bool]:
    """Return a check whether a request carries the cookie of gradio's own login to ``app``."""

    def check(request: Any) -> bool:
        tokens = getattr(app, "tokens", None) or {}
        suffix = getattr(app, "cookie_id", None)
        names = ["access-token", "access-token-unsecure"]
        names += [f"{name}-{suffix}" for name in names] if suffix else []
        return any(request.cookies.get(name) in tokens for name in names)

    return check
