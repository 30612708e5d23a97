"""One module per resource; each has a ``router`` whose routes are thin: read, call the service, answer."""

from fastapi import APIRouter

from lib_rankopt.api.resources import (
    answers,
    automatic,
    blind,
    gallery,
    host,
    images,
    picks,
    progress,
    rounds,
    scores,
    static,
    studies,
    training,
)

ROUTERS: tuple[APIRouter, ...] = (
    *(module.router for module in (host, studies, rounds, answers, progress, picks, automatic, blind, scores, training, gallery)),
    *(module.router for module in (images, static)),
    images.uploads,
)

__all__ = ["ROUTERS"]
