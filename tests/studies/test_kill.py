"""Real SIGKILLs: whatever was acknowledged is there, and what follows is what would have followed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from lib_rankopt.studies.service import StudyService
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, images, latents, play
from tests.studies.player import play_until

ROUNDS = 40
KILLS = 7

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    """Processes that are forked from one which has loaded torch and nothing of ours."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["torch", "sqlalchemy", "safetensors.torch", "PIL.Image"])
    return found


def run(context: ForkServerContext, data: Path, study: str, on_first: Callable[[int], None]) -> tuple[set[int], int | None]:
    """Play in another process; return the rounds that it acknowledged, and how it ended."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=play_until, args=(ROUNDS, data, study, theirs))
    process.start()
    theirs.close()
    heard: set[int] = set()
    try:
        while True:
            heard.add(ours.recv())
            if len(heard) == 1:
                on_first(process.pid or 0)
    except EOFError:
        process.join(60)
    return heard, process.exitcode


def test_nothing_acknowledged_is_lost_and_the_next_round_is_the_same(
    open_service: Opener, tmp_path: Path, context: ForkServerContext
) -> None:
    service = open_service()
    study, reference = service.create(SETTINGS), service.create(SETTINGS)
    play(service, reference.id, ROUNDS)
    expected = latents(service, reference.id), images(service, reference.id)
    service.close()
    rng, data = random.Random(5), tmp_path / "data"
    acknowledged: set[int] = set()
    killed = 0

    def kill_soon(pid: int) -> None:
        # Anything from "the next round's latents are being written" to "an answer is being appended". A round takes at least 16 ms,
        # so that even the last of the processes has rounds left to be killed in.
        threading.Timer(rng.random() * 0.06, _kill, (pid,)).start()

    for _ in range(KILLS):
        heard, code = run(context, data, study.id, kill_soon)
        acknowledged |= heard
        killed += code == -signal.SIGKILL
        check(open_service(resume=False), study.id, acknowledged, *expected)
    assert killed >= KILLS - 2
    assert acknowledged
    heard, code = run(context, data, study.id, lambda _pid: None)
    assert code == 0
    service = open_service()
    assert latents(service, study.id) == expected[0]
    assert images(service, study.id) == expected[1]
    assert service.get(study.id).answered == ROUNDS


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def check(
    service: StudyService,
    study: str,
    acknowledged: set[int],
    expected_latents: list[tuple[str, ...]],
    expected_images: list[tuple[str | None, ...]],
) -> None:
    """After a kill every acknowledged answer stands, and every round is a piece of the uninterrupted run, its files whole."""
    views = service.rounds(study)
    assert acknowledged <= {view.index for view in views if view.status == "answered"}
    assert [tuple(c.latent for c in view.candidates) for view in views] == expected_latents[: len(views)]
    for view in views:
        for candidate, wanted in zip(view.candidates, expected_images[view.index], strict=True):
            assert candidate.image in (None, wanted)
            if candidate.image:
                service._room.blobs.load_image(candidate.image)
            service._room.blobs.load_latent(candidate.latent)
    service.close()
