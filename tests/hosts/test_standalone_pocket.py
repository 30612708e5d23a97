"""The embedded model on the standalone host; skipped in a checkout without its weights."""

from __future__ import annotations

import numpy as np
import pytest

from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.hosts.library import POCKET, pocket_path
from lib_rankopt.hosts.standalone import StandaloneHost
from tests.hosts.conformance import pixels

pytestmark = pytest.mark.skipif(pocket_path() is None, reason="the pocket model's weights are not in this checkout")


@pytest.fixture(scope="module")
def host() -> StandaloneHost:
    return StandaloneHost(device="cpu")


def test_it_is_the_default_model(host: StandaloneHost) -> None:
    assert host.models() == (POCKET,)
    assert host.identity().name == POCKET
    assert host.identity().family == "sd1"
    assert (host.defaults().width, host.defaults().height) == (64, 64)


def test_the_words_decide_the_background(host: StandaloneHost) -> None:
    """Pictures asked for on red have more red at their edges than those asked for on blue, by the same seeds."""
    d = host.defaults()

    def edge(colour: str) -> np.ndarray:
        request = GenerationRequest(
            f"a 3d fox on a {colour} background",
            (1, 2, 3, 4),
            width=d.width,
            height=d.height,
            steps=d.steps,
            sampler=d.sampler,
            scheduler=d.scheduler,
            cfg_scale=d.cfg_scale,
        )
        pictures = np.stack([pixels(image) for image in host.generate(request)])
        return pictures[:, [0, 1, -2, -1]].mean(axis=(0, 1, 2))

    red, blue = edge("red"), edge("blue")
    assert red[0] - blue[0] > 30
    assert blue[2] - red[2] > 30
