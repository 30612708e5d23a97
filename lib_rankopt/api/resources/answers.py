"""Answers: ranking, like, skip, none is better, and taking back."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import REFUSALS, AnswerBody, Round, Undo, gives
from lib_rankopt.studies.views import Answer

router = APIRouter(prefix="/studies/{study}", tags=["answers"], route_class=GuardedRoute, responses=REFUSALS)


@router.post("/rounds/{index}/feedback", responses=gives(Round))
def give_feedback(
    study: str, index: int, body: AnswerBody, service: StudyService = SERVICE
) -> JSONResponse:
    """Answer a round. The same ``token`` sent again counts once and is answered alike."""
    return reply(service.answer(study, index, answer_of(body)))


@router.post("/undo", responses=gives(Round))
def undo(study: str, body: Undo, service: StudyService = SERVICE) -> JSONResponse:
    """Take a rater's last answer back; answers with the round that is open again."""
    return reply(service.undo(study, body.rater))


def answer_of(body: AnswerBody) -> Answer:
    """The record that the service takes."""
    values = {name: getattr(body, name) for name in Answer.__dataclass_fields__}
    values["tiers"] = tuple(tuple(tier) for tier in values["tiers"])
    values["shown"], values["scores"] = tuple(values["shown"]), tuple(values["scores"])
    return Answer(**values)
