"""*Score a folder*: what ``python -m lib_rankopt score`` does, on the page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_rankopt.errors import RankOptError

if TYPE_CHECKING:
    from lib_rankopt.evaluation.score_files import Tally
    from lib_rankopt.scorers.shelf import ScorerShelf

_HEADS = ["folder", "scorer", "images", "mean", "95 % interval"]
_ABOUT = (
    "Every image below the folder is scored with the prompt in its parameters, or in a .txt or .caption file beside it. The scores of each "
    "image are kept in a file, so that scoring again goes on where it was stopped."
)
Row = list[Any]
Score = Callable[[str, Sequence[str], str], Iterator[tuple[str, list[Row]]]]
"""``(folder, scorers, prompt) ->`` words and rows of the table, again and again while the work goes on."""


def build_score_folder(scorers: Sequence[str], score: Score) -> None:
    """Lay the accordion out in the open gradio context."""
    with gr.Accordion("Score a folder", open=False, elem_id="rankopt_score_folder"):
        gr.Markdown(_ABOUT)
        with gr.Row():
            folder = gr.Textbox(label="Folder of images", placeholder="on the machine that runs this", elem_id="rankopt_score_path")
            chosen = gr.Dropdown(list(scorers), value=[*scorers[:1]], multiselect=True, label="Scorers", elem_id="rankopt_score_scorers")
        prompt = gr.Textbox(label="Prompt of all images", placeholder="empty: each image's own", elem_id="rankopt_score_prompt")
        with gr.Row():
            go = gr.Button("Score", elem_id="rankopt_score_go")
            stop = gr.Button("Stop", elem_id="rankopt_score_stop")
        said = gr.Markdown(elem_id="rankopt_score_said")
        table = gr.Dataframe(headers=_HEADS, interactive=False, elem_id="rankopt_score_table")
        work = go.click(score, [folder, chosen, prompt], [said, table])
        stop.click(None, None, None, cancels=[work])


def scoring(shelf: Callable[[], ScorerShelf], data_dir: Path) -> Score:
    """Return what scores folders with a shelf's scorers and keeps the scores below ``data_dir/scores``."""

    def score(folder: str, names: Sequence[str], prompt: str) -> Iterator[tuple[str, list[Row]]]:
        from lib_rankopt.evaluation.score_files import Tally

        tally = Tally()
        try:
            if not folder.strip() or not names:
                yield "Name a folder and at least one scorer.", []
                return
            yield "Loading …", []
            path = _log_of(data_dir, Path(folder.strip()), names, prompt)
            for _ in _scored(shelf(), Path(folder.strip()), names, prompt, path, tally):
                yield f"{tally.files:,} images …", rows(tally)
        except (RankOptError, OSError) as error:
            yield f"⚠ {error}", rows(tally)
            return
        failed = f"; {tally.failed:,} could not be scored, and their lines say why" if tally.failed else ""
        yield f"{tally.files:,} images{failed}. The scores of each image are in {path}", rows(tally)

    return score


def rows(tally: Tally) -> list[Row]:
    """The table of means."""
    found = []
    for row in tally.rows():
        one = row.estimate
        interval = f"{one.low:.5g} to {one.high:.5g}" if one.n > 1 else "–"
        found.append([row.folder or "all together", row.scorer, one.n, f"{one.mean:.5g}", interval])
    return found


def _scored(shelf: ScorerShelf, folder: Path, names: Sequence[str], prompt: str, path: Path, tally: Tally) -> Iterator[None]:
    from lib_rankopt.evaluation.image_files import find_images
    from lib_rankopt.evaluation.score_files import score_files
    from lib_rankopt.evaluation.score_log import JsonLog

    sources = find_images([folder])
    for name in names:
        shelf.check(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scorers = {name: stack.enter_context(shelf.lent(name)) for name in names}
        log = stack.enter_context(closing(JsonLog(path, {name: one.info.version for name, one in scorers.items()})))
        for batch in stack.enter_context(closing(score_files(sources, scorers, prompt, log.known))):
            log.append(record for record in batch if not record.is_known)
            for record in batch:
                tally.add(record)
            yield


def _log_of(data_dir: Path, folder: Path, names: Sequence[str], prompt: str) -> Path:
    """One file for a folder, its scorers and a prompt."""
    asked = "\n".join([str(folder.absolute()), *names, prompt])
    return data_dir / "scores" / f"{folder.name or 'folder'}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.jsonl"
