"""One module per resource; each has a ``router`` whose routes are thin: read, call the service, answer."""

from fastapi import APIRouter

from lib_rankopt.api.resources import (
    answers,
    automatic,
    blind,
    collected_images,
    comparing,
    data,
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
    *(module.router for module in (host, studies, rounds, answers, progress, picks, automatic, blind, scores, training, images)),
    collected_images.router,
    comparing.router,
    data.router,
    gallery.router,
    static.router,
    images.uploads,
)

__all__ = ["ROUTERS"]
