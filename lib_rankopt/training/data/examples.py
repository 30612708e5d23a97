"""From feedback to the items of an objective, split by prompt. Pure functions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.training.data.records import Example, Feedback, LabelledImage, RankedImages, Split
from lib_rankopt.training.objectives.base import Objective

_MANY_LABELS = 10  # likes, and dislikes, from which on it is worth a word that they are not used


def split(feedback: Feedback, objective: Objective, held_out: float, seed: int, base: str | None = None) -> Split:
    """Make an objective's items, and keep back a share of the prompts.

    Args:
        held_out: share of the prompts, 0 to 0.9; with two prompts or more, at least one is kept and at least one is left.
        base: sha256 of the checkpoint that is trained; images of others are counted as foreign.

    Raises:
        InvalidInputError: the feedback has no item of the objective's kind; the message says which objectives it has something for.
    """
    items = _KINDS[objective.kind](feedback)
    if not items:
        raise InvalidInputError(_nothing(feedback, objective))
    prompts = sorted({item.prompt for item in items})
    random.Random(f"held out {seed}").shuffle(prompts)
    count = min(max(1, round(held_out * len(prompts))), len(prompts) - 1) if held_out else 0
    kept = set(prompts[:count])
    training = _normalised([item for item in items if item.prompt not in kept])
    images = {image.sha256: image for item in items for image in item.images}
    labels = Counter(item.label for item in items)
    pairs = _pairs(feedback)
    counts = {
        "prompts": len(prompts),
        "images": len(images),
        "items": len(items),
        "pairs": len(pairs),
        "liked": labels[1],
        "disliked": labels[-1],
        "foreign": sum(image.model is not None and not (base or "").startswith(image.model) for image in images.values()),
        "held_out_prompts": count,
        "by_scorers": sum(ranked.rater.startswith("auto:") for ranked in feedback.rankings),
    }
    held = [item for item in items if item.prompt in kept]
    held_pairs = [pair for pair in pairs if pair.prompt in kept]
    words = (*_words(counts, objective), *_unused(feedback, objective), *feedback.problems)
    return Split(tuple(training), tuple(held), tuple(held_pairs), words, counts)


def _experts(feedback: Feedback) -> list[Example]:
    """First tiers of rankings, and likes; an image that is also disliked is left out.

    What was only concluded weighs less, and counts only of images that nobody has ranked.
    """
    disliked = {(one.prompt, one.image.sha256) for one in feedback.labels if not one.liked}
    ranked_ones = {(ranked.prompt, image.sha256) for ranked in feedback.rankings for image in ranked.images}
    weak = [one for one in feedback.labels if one.liked and not one.said]
    concluded = [one for one in weak if (one.prompt, one.image.sha256) not in ranked_ones]
    found = [(one.prompt, one.image, one.weight) for one in concluded]
    found += [(ranked.prompt, image, 1.0) for ranked in feedback.rankings for image, tier in _placed(ranked) if tier == ranked.tiers[0]]
    found += [(one.prompt, one.image, one.weight) for one in feedback.labels if one.liked and one.said]
    unique = {(prompt, image.sha256): (image, weight) for prompt, image, weight in found}
    kept = {key: value for key, value in unique.items() if key not in disliked}
    return [Example(prompt, (image,), label=1, weight=weight) for (prompt, _), (image, weight) in kept.items()]


def _labels(feedback: Feedback) -> list[Example]:
    """Likes and dislikes that somebody gave; without one, an image of a ranking is liked in its first tier and disliked in its last.

    Without that, what was concluded counts with its weight.
    """
    images = {one.image.sha256: one.image for one in feedback.labels}
    derived: _Votes = {}
    for ranked in feedback.rankings:
        for image, tier in _placed(ranked):
            if tier in (ranked.tiers[0], ranked.tiers[-1]):
                derived.setdefault((ranked.prompt, image.sha256), {})[tier == ranked.tiers[0]] = 1.0
                images[image.sha256] = image
    # once preferred counts as liked (the published policy "gt_label_wi_l"); contradictory labels of one image say nothing
    preferred: _Votes = {key: {True: 1.0} if True in votes else votes for key, votes in derived.items()}
    every = _votes(feedback.labels, said=False) | preferred | _votes(feedback.labels, said=True)
    kept = {key: next(iter(votes.items())) for key, votes in every.items() if len(votes) == 1}
    return [Example(prompt, (images[sha],), label=1 if liked else -1, weight=weight) for (prompt, sha), (liked, weight) in kept.items()]


_Votes = dict[tuple[str, str], dict[bool, float]]


def _votes(labels: Sequence[LabelledImage], said: bool) -> _Votes:
    """By prompt and image: liked or not → the weight, of labels that were given or of labels that were concluded."""
    found: _Votes = {}
    for one in labels:
        if one.said == said:
            votes = found.setdefault((one.prompt, one.image.sha256), {})
            votes[one.liked] = max(one.weight, votes.get(one.liked, 0.0))
    return found


def _pairs(feedback: Feedback) -> list[Example]:
    """All strictly ordered pairs; those of one ranking weigh one ranking together."""
    found = []
    for ranked in feedback.rankings:
        own = list(_ordered(ranked))
        found += [replace(pair, weight=1 / len(own)) for pair in own]
    return found


def _ordered(ranked: RankedImages) -> Iterator[Example]:
    placed = _placed(ranked)
    for better, high in placed:
        for worse, low in placed:
            if high < low:
                yield Example(ranked.prompt, (better, worse), (0, 1))


def _lists(feedback: Feedback) -> list[Example]:
    return [Example(r.prompt, r.images, r.tiers) for r in feedback.rankings]


_KINDS: dict[str, Callable[[Feedback], list[Example]]] = {"experts": _experts, "labels": _labels, "pairs": _pairs, "lists": _lists}


def _placed(ranked: RankedImages) -> list[tuple]:  # type: ignore[type-arg]
    return list(zip(ranked.images, ranked.tiers, strict=True))


def _normalised(items: Sequence[Example]) -> list[Example]:
    mean = sum(item.weight for item in items) / max(1, len(items))
    return [replace(item, weight=item.weight / mean) for item in items]


def _nothing(feedback: Feedback, objective: Objective) -> str:
    problems = f" First problem: {feedback.problems[0]}" if feedback.problems else ""
    if not feedback.rankings and not feedback.labels:
        return f"There is no feedback in these data: rank, like or dislike some images first.{problems}"
    usable = "sft, csft, kto or hinge" if feedback.labels else "dpo"
    return f"These data have nothing that {objective.name} learns from ({objective.kind}); take {usable}.{problems}"


def _unused(feedback: Feedback, objective: Objective) -> list[str]:
    """What is said of likes and dislikes where the objective takes comparisons alone; ``benchmarks.training_helps`` has the figures."""
    said = Counter(one.liked for one in feedback.labels if one.said)
    if objective.kind not in ("pairs", "lists") or min(said[True], said[False]) < _MANY_LABELS:
        return []
    return [
        f"{said[True]} likes and {said[False]} dislikes go unused: kto learns from them as well as from rankings, "
        "and won most often in our comparison."
    ]


def _words(counts: dict[str, int], objective: Objective) -> list[str]:
    said = [f"{counts['items']} items ({objective.kind}) of {counts['images']} images under {counts['prompts']} prompts."]
    if objective.kind in ("pairs", "lists") and counts["pairs"] < 200:
        said.append("Few pairs: published runs used thousands to 851,293 (Pick-a-Pic v2). A clear taste can show, a subtle one will not.")
    if objective.kind == "experts" and counts["items"] < 100:
        said.append("Few liked images: the smallest published set that worked is about 500 (Diffusion-DRO). Watch for overfit.")
    if objective.kind == "labels" and not counts["disliked"]:
        said.append("Only likes: nothing says what is disliked, so this comes close to sft.")
    if counts["foreign"]:
        said.append(f"{counts['foreign']} images were made by another checkpoint: they teach its look along with the taste.")
    if counts["by_scorers"]:
        said.append(f"Rankings by a scorer, not by a person: {counts['by_scorers']}. They count alike, so its taste is learnt too.")
    if not counts["held_out_prompts"]:
        said.append("All images have one prompt, or none is kept back: nothing will tell whether the run overfits.")
    return said
