"""Folders of images ranked a few at a time: what is ranked, the next comparisons, answers, results."""

from __future__ import annotations

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from lib_rankopt.api.context import SERVICE, StudyService, context_of, reply
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import (
    REFUSALS,
    Answered,
    ComparingAnswer,
    ComparingFolders,
    ComparingLabel,
    ComparingSettings,
    ComparingUndo,
    Comparison,
    Empty,
    Job,
    NewFolder,
    RankedCollection,
    Results,
    Undone,
    gives,
)
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.studies.views import to_json

router = APIRouter(prefix="/data", tags=["data"], route_class=GuardedRoute, responses=REFUSALS)


@router.get("/folders", responses=gives(ComparingFolders))
def list_folders(request: Request, service: StudyService = SERVICE) -> JSONResponse:
    """What is ranked, newest first, and whether pages may name folders of this machine."""
    content = {"folders": to_json(service.data.comparing.collections()), "takes_paths": context_of(request).takes_paths}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


@router.post("/folders", responses=gives(RankedCollection, 201), status_code=201)
def add_folder(request: Request, body: NewFolder, service: StudyService = SERVICE) -> JSONResponse:
    """Rank a folder, or go on with one: what is new in it is taken in, in the background."""
    if not context_of(request).takes_paths:
        raise InvalidInputError("This server does not let pages name its folders; import them on its command line.")
    return reply(service.data.comparing.add_folder(body.path, body.name, body.settings), 201)


@router.get("/collections/{number}/ranking", responses=gives(RankedCollection))
def get_ranking(number: int, service: StudyService = SERVICE) -> JSONResponse:
    """How a collection is ranked, how far, and what runs for it in the background."""
    return reply(service.data.comparing.view(number))


@router.patch("/collections/{number}/ranking", responses=gives(RankedCollection))
def change_ranking(number: int, body: ComparingSettings, service: StudyService = SERVICE) -> JSONResponse:
    """Change some settings: ``layout``, ``size``, ``within``, ``repeats``."""
    return reply(service.data.comparing.change(number, body))


@router.get("/collections/{number}/next", responses=gives(list[Comparison]))  # type: ignore[valid-type]
def get_next(
    number: int,
    rater: str = Query(default="me", description="Who will answer."),
    count: int = Query(default=1, description="How many, to have some ready ahead; 1 to 4."),
    window: str = Query(default="", description="Tells windows of one rater apart."),
    held: str = Query(default="", description="Tokens that this window still holds, with commas; its others can come again."),
    service: StudyService = SERVICE,
) -> JSONResponse:
    """The next comparisons, others at every call; an empty list where nothing is left that this rater has not compared."""
    return reply(service.data.comparing.next(number, rater, count, window[:40], held.split(",")))


@router.post("/collections/{number}/answers", responses=gives(Answered, 201), status_code=201)
def put_answer(number: int, body: ComparingAnswer, service: StudyService = SERVICE) -> JSONResponse:
    """Answer a comparison, or skip it. On disk when this returns; the same answer sent again counts once."""
    answered = service.data.comparing.answer(number, body.rater, body.token, body.images, body.tiers, body.skip, body.latency_ms)
    return reply(answered, 201)


@router.post("/collections/{number}/labels", responses=gives(Answered, 201), status_code=201)
def put_label(number: int, body: ComparingLabel, service: StudyService = SERVICE) -> JSONResponse:
    """Like or dislike one image, or take that back."""
    return reply(service.data.comparing.label(number, body.rater, body.token, body.image, body.label), 201)


@router.post("/collections/{number}/undo", responses=gives(Undone))
def undo(number: int, body: ComparingUndo, service: StudyService = SERVICE) -> JSONResponse:
    """Take back the rater's last answer, and give the comparison once more."""
    return reply(service.data.comparing.undo(number, body.rater, body.token, body.window[:40]))


@router.post("/collections/{number}/rebuild", responses=gives(Job, 202), status_code=202)
def rebuild(number: int, body: Empty, service: StudyService = SERVICE) -> JSONResponse:
    """Rate all images by all answers at once, in the background; see ``job`` of the ranking."""
    return reply(service.data.comparing.rebuild(number), 202)


@router.get("/collections/{number}/results", responses=gives(Results))
def get_results(number: int, offset: int = 0, limit: int = 100, service: StudyService = SERVICE) -> JSONResponse:
    """Images from the best to the worst with mean and standard deviation, and how far raters agree."""
    return reply(service.data.comparing.results(number, offset, limit))


@router.get("/collections/{number}/results.csv", response_class=Response)
def get_csv(number: int, service: StudyService = SERVICE) -> Response:
    """All of them as CSV: rank, image, prompt, mean, sd, comparisons."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": f'attachment; filename="ranking-{number}.csv"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(service.data.comparing.csv(number), headers=headers)
