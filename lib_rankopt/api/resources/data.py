"""What there is to learn from: studies, collections, their images and feedback, and corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from lib_rankopt.api.context import SERVICE, StudyService, context_of, reply
from lib_rankopt.api.data_formats import describe_formats
from lib_rankopt.api.guard import GuardedRoute
from lib_rankopt.api.schemas import (
    REFUSALS,
    CaptionImages,
    ChosenImages,
    DataDetail,
    DataDuplicates,
    DataFormats,
    DataImage,
    DataOverview,
    DataPage,
    DataReach,
    DataSource,
    Empty,
    Job,
    LabelImages,
    NewExport,
    NewImport,
    Rename,
    TakeBack,
    gives,
)
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected.records import ImageQuery

router = APIRouter(prefix="/data", tags=["data"], route_class=GuardedRoute, responses=REFUSALS)

_MOST = 2**63 - 1
_NUMBER: Any = Query(default=None, ge=1, le=_MOST, description="Number of a collection; all of them without it.")


@router.get("/overview", responses=gives(DataOverview))
def get_overview(service: StudyService = SERVICE) -> JSONResponse:
    """All studies and collections with their counts."""
    return reply(service.data.browsing.overview())


@router.get("/objectives", responses=gives(DataReach))
def get_objectives(
    data: list[str] = Query(default=[], description="Ids of studies and collections; none for all of them."),  # noqa: B008
    service: StudyService = SERVICE,
) -> JSONResponse:
    """What each objective would get of some data."""
    return reply(service.data.reach.objectives(data))


# -- images
@router.get("/images", responses=gives(DataPage))
def get_images(
    collection: int | None = _NUMBER,
    text: str = Query(default="", max_length=2000, description="What the caption contains, in any case."),
    label: Literal["like", "dislike", "rated", "unrated", "compared", "any"] = "any",
    rater: str = Query(default="", max_length=200, description="With feedback of this rater."),
    source: str = Query(default="", max_length=32, description="With labels that were concluded from this: saved, deleted …"),
    model: str = Query(default="", max_length=200, description="Made by this model."),
    state: Literal["unseen", "here", "gone", "changed", "removed"] | None = None,
    after: int = Query(default=0, ge=0, le=_MOST, description="Only numbers above this: the last page's next."),
    limit: int = Query(default=100, ge=1, le=500),
    service: StudyService = SERVICE,
) -> JSONResponse:
    """Collected images that fit all conditions, by number, with what follows from their feedback."""
    query = ImageQuery(collection, text, None, label, rater, source, model, state, after, limit)
    return reply(service.data.browsing.page(query))


@router.get("/images/{number}", responses=gives(DataDetail))
def get_image(number: int, service: StudyService = SERVICE) -> JSONResponse:
    """All that is known of an image, with everything that was said about it."""
    return reply(service.data.browsing.image(number))


@router.post("/images/labels", responses=gives(list[DataImage]))  # type: ignore[valid-type]
def label_images(body: LabelImages, service: StudyService = SERVICE) -> JSONResponse:
    """Like or dislike images, or have no opinion of them any more."""
    return reply(service.data.browsing.label(body.images, body.kind, body.rater, body.token))


@router.patch("/images", responses=gives(list[DataImage]))  # type: ignore[valid-type]
def caption_images(body: CaptionImages, service: StudyService = SERVICE) -> JSONResponse:
    """Give images another caption."""
    return reply(service.data.browsing.caption(body.images, body.prompt))


@router.post("/images/remove", responses=gives(list[DataImage]))  # type: ignore[valid-type]
def remove_images(body: ChosenImages, service: StudyService = SERVICE) -> JSONResponse:
    """Hide images, and keep them out of training and exports. Their files stay."""
    return reply(service.data.browsing.remove(body.images))


@router.post("/images/restore", responses=gives(list[DataImage]))  # type: ignore[valid-type]
def restore_images(body: ChosenImages, service: StudyService = SERVICE) -> JSONResponse:
    """Bring removed images back."""
    return reply(service.data.browsing.remove(body.images, removed=False))


@router.post("/images/{number}/retractions", responses=gives(DataDetail))
def take_back(number: int, body: TakeBack, service: StudyService = SERVICE) -> JSONResponse:
    """Take back one answer about an image, by whoever gave it."""
    return reply(service.data.browsing.take_back(number, body.event, body.rater, body.token))


@router.get("/duplicates", responses=gives(DataDuplicates))
def get_duplicates(
    kind: Literal["same", "near"] = Query(default="same", description="The same file or pixels, or pictures that look the same."),
    collection: int | None = _NUMBER,
    distance: int = Query(default=4, ge=0, le=8, description="Bits of 64 that may differ in pictures that look the same."),
    limit: int = Query(default=50, ge=1, le=200),
    service: StudyService = SERVICE,
) -> JSONResponse:
    """Groups of images that are there more than once."""
    finder = service.data.duplicates
    return reply(finder.same(collection, limit) if kind == "same" else finder.near(collection, distance, limit))


# -- collections
@router.patch("/collections/{number}", responses=gives(DataSource))
def rename_collection(number: int, body: Rename, service: StudyService = SERVICE) -> JSONResponse:
    """Give a collection another name."""
    return reply(service.data.browsing.rename(number, body.name))


@router.delete("/collections/{number}", status_code=204)
def delete_collection(number: int, service: StudyService = SERVICE) -> Response:
    """Delete a collection, all that was said of its images, and the files that the data folder holds for it alone."""
    service.data.browsing.delete(number)
    return Response(status_code=204)


@router.post("/collections/{number}/look", responses=gives(Job, 202), status_code=202)
def look_at_files(number: int, body: Empty, service: StudyService = SERVICE) -> JSONResponse:
    """Look at a collection's files in the background: which are gone or changed, and their hashes."""
    return reply(service.data.moving.start_look(number), 202)


# -- in and out
@router.get("/formats", responses=gives(DataFormats))
def get_formats(request: Request) -> JSONResponse:
    """Formats to read and to write, and whether this server lets pages name files."""
    return reply(describe_formats(context_of(request).takes_paths))


@router.post("/imports", responses=gives(Job, 202), status_code=202)
def start_import(request: Request, body: NewImport, service: StudyService = SERVICE) -> JSONResponse:
    """Read a data set of the server's machine into a collection, in the background; the same again goes on, and adds nothing twice."""
    return reply(service.data.moving.start_import(body.format, _path(request, body.path), body.name.strip()[:200]), 202)


@router.post("/exports", responses=gives(Job, 202), status_code=202)
def start_export(request: Request, body: NewExport, service: StudyService = SERVICE) -> JSONResponse:
    """Write studies and collections to the server's machine, in the background; nothing is written over."""
    return reply(service.data.moving.start_export(body.format, body.sources, _path(request, body.path)), 202)


def _path(request: Request, text: str) -> Path:
    if not context_of(request).takes_paths:
        raise InvalidInputError("This server does not let pages name its files and folders; use its command line.")
    try:
        path = Path(text.strip()).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"'{text[:200]}' is no path that can be used ({error}).") from error
    if not path.is_absolute():
        raise InvalidInputError(f"Give a full path, which '{text[:200]}' is not.")
    return path


# -- jobs
@router.get("/jobs", responses=gives(list[Job]))  # type: ignore[valid-type]
def list_jobs(service: StudyService = SERVICE) -> JSONResponse:
    """What runs in the background or has run, newest first."""
    return reply(service.data.jobs.views())


@router.post("/jobs/{job}/stop", responses=gives(Job))
def stop_job(job: str, body: Empty, service: StudyService = SERVICE) -> JSONResponse:
    """Stop a job after the step under way; what it has done stays."""
    return reply(service.data.jobs.stop(job))
