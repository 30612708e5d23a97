"""Many ways to say the same thing: captions for training."""

from __future__ import annotations

import numpy as np

from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, FILLER, STYLES, article, caption

Wanted = tuple[int | None, int | None, int | None]  # rows of CONCEPTS, STYLES, BACKGROUNDS

FULL = (
    "{a}{style} {concept} on a {ground} background",
    "{a}{style} {concept} with a {ground} background",
    "a {style} picture of {ac}{concept} on a {ground} background",
    "{concept}, {style}, {ground} background",
    "{style} {concept}, {ground} background",
    "{ac}{concept} in {style} style on a {ground} background",
    "{ac}{concept} on a {ground} background, {style}",
    "{style} style, {ground} background, {concept}",
    "{style} {concept} on {ground}",
)
NO_STYLE = (
    "{ac}{concept} on a {ground} background",
    "{concept}, {ground} background",
    "{ac}{concept} with a {ground} background",
    "a picture of {ac}{concept} on {ground}",
)
NO_GROUND = (
    "{a}{style} {concept}",
    "{style} {concept}",
    "{concept}, {style}",
    "a {style} picture of {ac}{concept}",
    "{ac}{concept} in {style} style",
)
CONCEPT_ONLY = ("{ac}{concept}", "{concept}", "a picture of {ac}{concept}", "the {concept}")
NO_CONCEPT = ("{style}", "{ground} background", "a {ground} background, {style}", "{style} style")


def words_of(wanted: Wanted) -> tuple[str | None, str | None, str | None]:
    """Row numbers to words."""
    concept, style, ground = wanted
    return (
        None if concept is None else CONCEPTS[concept],
        None if style is None else STYLES[style],
        None if ground is None else BACKGROUNDS[ground],
    )


def _templates(concept: str | None, style: str | None, ground: str | None) -> tuple[str, ...]:
    if concept is None:
        fits = (("{style}" in t) == (style is not None) and ("{ground}" in t) == (ground is not None) for t in NO_CONCEPT)
        return tuple(t for t, good in zip(NO_CONCEPT, fits, strict=True) if good)
    if style is None:
        return CONCEPT_ONLY if ground is None else NO_STYLE
    return NO_GROUND if ground is None else FULL


def varied_caption(wanted: Wanted, rng: np.random.Generator, plain: float = 0.35) -> str:
    """A caption that asks for `wanted`; with probability `plain` the plain one of `caption`."""
    words = words_of(wanted)
    if words == (None, None, None):
        return "" if rng.random() < 0.7 else str(rng.choice(FILLER))
    if rng.random() < plain:
        return caption(*words)
    concept, style, ground = words
    template = str(rng.choice(_templates(*words)))
    ac = article(concept) if concept else ""
    filler = ""
    if rng.random() < 0.4:
        filler = ", ".join(rng.choice(FILLER, size=rng.integers(1, 4), replace=False))
    text = template.format(a="a ", ac=ac, concept=concept, style=style, ground=ground)
    if not filler:
        return text
    return f"{filler}, {text}" if rng.random() < 0.4 else f"{text}, {filler}"


def drop_words(full: tuple[int, int, int], rng: np.random.Generator) -> Wanted:
    """What a caption of a picture leaves out: mostly nothing, sometimes a part, a tenth of the time all."""
    draw = rng.random()
    concept, style, ground = full
    if draw < 0.10:
        return None, None, None
    if draw < 0.18:
        return concept, None, ground
    if draw < 0.26:
        return concept, style, None
    if draw < 0.32:
        return concept, None, None
    if draw < 0.35:
        return None, style, ground
    return concept, style, ground
