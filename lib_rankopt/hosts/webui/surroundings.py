"""Where we are: the webui's folders, options and accounts, and a place for what outlives *Reload UI*."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from modules import paths, shared, ui_components

from lib_rankopt.hosts.webui import feedback_options

if TYPE_CHECKING:
    from lib_rankopt.scorers.shelf import ScorerShelf

T = TypeVar("T")
SECTION = ("rankopt", "Rank-Optimize")
SCORES = "rankopt_scores"
# One place for them: what is in ui-config.json goes before whatever an option here would say.
_ABOUT_DEFAULTS = (
    "Defaults of the form (images per round, optimiser, sampler, size …): set the Rank-Optimize tab as you like it, then <b>Settings → "
    "Defaults → Apply</b>, as for the webui's other tabs."
)


def data_dir() -> Path:
    """Folder of studies and images: the option, or ``rankopt`` in the webui's data folder; never inside the extension."""
    chosen = getattr(shared.cmd_opts, "rankopt_data_dir", None) or shared.opts.data.get("rankopt_data_dir")
    return Path(chosen) if chosen else Path(paths.data_path) / "rankopt"


def scorers() -> ScorerShelf:
    """Scorers of this process, whose weights are in our data folder or among the webui's models."""
    from lib_rankopt.scorers.shelf import ScorerShelf

    return kept("scorers", lambda: ScorerShelf((data_dir(), Path(paths.models_path)), torch.device(shared.device)))


def database_url() -> str | None:
    """Database by option, ``None`` for the file in the data folder."""
    return getattr(shared.cmd_opts, "rankopt_database_url", None) or shared.opts.data.get("rankopt_database_url") or None


def add_options(slider: Any, changed: Callable[[], None] = lambda: None) -> None:
    """Add our section to the webui's settings; see :func:`lib_rankopt.hosts.webui.feedback_options.add`."""
    folder = shared.OptionInfo("", "Folder of studies and images", section=SECTION)
    folder.info("empty: rankopt in the webui's data folder; --rankopt-data-dir goes before").needs_restart()
    database = shared.OptionInfo("", "Database", section=SECTION)
    database.info("empty: a file in that folder; postgresql://user:password@host/name for a team").needs_restart()
    defaults = shared.OptionHTML(_ABOUT_DEFAULTS)
    defaults.section = SECTION
    shared.opts.add_option("rankopt_data_dir", folder)
    shared.opts.add_option("rankopt_database_url", database)
    shared.opts.add_option("rankopt_defaults_explanation", defaults)
    chosen = shared.OptionInfo(
        [], "Scores written into the parameters of every image", ui_components.DropdownMulti,
        lambda: {"choices": list(scorers().names())}, section=SECTION,
    )  # fmt: skip
    chosen.info("of txt2img and img2img; a scorer's weights have to be here, see the README")
    shared.opts.add_option(SCORES, chosen)
    feedback_options.add(SECTION, slider, changed)


def hides_folders() -> bool:
    """Whether the webui is told not to let people name folders of its machine."""
    return bool(getattr(shared.cmd_opts, "hide_ui_dir_config", False))


def credentials() -> dict[str, str] | None:
    """User names and passwords of ``--api-auth`` and of gradio's login; ``None`` where neither is set."""
    options = shared.cmd_opts
    pairs = [pair for text in (options.api_auth, options.gradio_auth) if text for pair in text.split(",")]
    if options.gradio_auth_path:
        text = Path(options.gradio_auth_path).read_text(encoding="utf8")
        pairs += [pair for line in text.splitlines() for pair in line.split(",")]
    split = [pair.strip().partition(":") for pair in pairs if pair.strip()]
    return {user: password for user, _, password in split} or None


def kept(name: str, make: Callable[[], T]) -> T:
    """Return what was made under this name in this process; *Reload UI* runs our scripts anew, and this must not."""
    lock: threading.RLock = vars(shared).setdefault("rankopt_lock", threading.RLock())
    place: dict[str, Any] = vars(shared).setdefault("rankopt_kept", {})
    with lock:
        if name not in place:
            place[name] = make()
        return place[name]  # type: ignore[no-any-return]
