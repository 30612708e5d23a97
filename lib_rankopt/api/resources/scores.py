"""Scorers: which there are, and their numbers for images of the data folder. A round's images are scored in ``rounds``."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, ScoreImages, Scorer, Scores, gives

router = APIRouter(tags=["scores"], route_class=GuardedRoute, responses=REFUSALS)


@router.get("/scorers", responses=gives(list[Scorer]))  # type: ignore[valid-type]
def list_scorers(service: StudyService = SERVICE) -> JSONResponse:
    """All scorers: whether their weights are here, which file is to be put where, and what is known of those that have been loaded."""
    return reply(service.scorers())


@router.post("/scores", responses=gives(Scores))
def score_images(body: ScoreImages, service: StudyService = SERVICE) -> JSONResponse:
    """Score images by their hashes under one prompt; loads the scorer where nobody has yet, and answers when all are scored."""
    return reply(service.score_images(body.images, body.prompt, body.scorer))
