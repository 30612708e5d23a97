"""A collection of small pictures in a folder, as an import leaves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lib_rankopt.store.collected.base import CollectionStore
from lib_rankopt.store.collected.records import Collection, CollectionKind, FeedbackDraft, ImageDraft, ImageQuery


def paint(path: Path, seed: int) -> Path:
    """A picture that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    coarse.resize((64, 48), Image.Resampling.BICUBIC).save(path)
    return path


def fill(
    store: CollectionStore, root: Path, count: int = 4, name: str = "foxes", kind: CollectionKind = "folder", seed: int = 0
) -> tuple[int, list[int]]:
    """A collection over the folder ``root``; prompts alternate between two."""
    number = store.create(Collection(name, kind, root=str(root))).number
    drafts = []
    for at in range(count):
        path = paint(root / f"{at}.png", seed + at)
        drafts.append(ImageDraft(path.name, ("a fox", "a Red barn")[at % 2], path.name, model="deliberate"))
    store.add(number, drafts)
    return number, [image.number for image in store.page(ImageQuery(collection=number, limit=1000))]


def label(image: int, token: str, kind: str = "like", **more: object) -> FeedbackDraft:
    """Feedback about one image."""
    return FeedbackDraft(kind, (image,), ((0,),), token, **more)  # type: ignore[arg-type]


def pair(better: int, worse: int, token: str, **more: object) -> FeedbackDraft:
    """A comparison of two."""
    return FeedbackDraft("pair", (better, worse), ((0,), (1,)), token, **more)  # type: ignore[arg-type]
