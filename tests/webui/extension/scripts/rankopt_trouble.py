"""Test extension: a scorer that does what scorers should not, and what the stillness of our hooks can be seen by."""

import torch
from fastapi import Body
from modules import script_callbacks, shared

from lib_rankopt.hosts.webui import surroundings
from lib_rankopt.scorers import create


class Strange:
    """Scores as ``clip`` does, but for one trouble at one of its calls, counted from 1."""

    def __init__(self, trouble, at):
        self.trouble, self.at, self.calls, self.inner = trouble, at, 0, create("clip")

    def to(self, device):
        pass

    def score(self, images, prompts):
        self.calls += 1
        found = self.inner.score(images, prompts).tolist()
        if self.calls == self.at:
            if self.trouble == "nan":
                found[0] = float("nan")
            elif self.trouble == "equal":
                found = [1.0] * len(found)
            elif self.trouble in ("interrupt", "skip"):
                getattr(shared.state, self.trouble)()
            else:
                raise RuntimeError(self.trouble)
        return torch.tensor(found)


def trouble(values: dict = Body(...)):  # noqa: B008 (the webui FastAPI is too old for Annotated)
    """Let the scorer ``strange`` make trouble, counted from its next call on."""
    strange = surroundings.kept("strange", lambda: Strange("", 0))
    surroundings.scorers().add("strange", strange)
    strange.trouble, strange.at, strange.calls = values["trouble"], values["at"], 0


script_callbacks.on_app_started(lambda _demo, app: app.add_api_route("/rankopt-test/trouble", trouble, methods=["POST"]))
