"""Which images are liked, all told, for formats that can say no more than that."""

from __future__ import annotations

from collections.abc import Collection

from lib_rankopt.store.formats.base import Dataset, WriteReport

LIKED, DISLIKED = 1, -1


def labels_of(dataset: Dataset, report: WriteReport, sides: Collection[int]) -> dict[str, int]:
    """Return +1 of each liked image and −1 of each disliked one by its key; what cannot be said so is left out in the report.

    What was said on purpose wins over what was concluded; where raters disagree the majority counts, and nobody where there is none.

    Args:
        sides: those that the format has a place for.
    """
    votes: dict[str, list[int]] = {}
    for answer, images in dataset.feedback():
        if answer.kind not in ("like", "dislike"):
            report.leave_out("the format has no rankings and pairs", answer.token)
            continue
        side = LIKED if answer.kind == "like" else DISLIKED
        if side not in sides:
            report.leave_out(f"the format has no {answer.kind}s as it was called", answer.token)
            continue
        votes.setdefault(images[0].key, []).append(side if not answer.source else 2 * side)
    return {key: side for key, said in votes.items() if (side := _decided(key, said, report))}


def _decided(key: str, said: list[int], report: WriteReport) -> int:
    on_purpose = [vote for vote in said if abs(vote) == 1]
    counted = on_purpose or [vote // 2 for vote in said]
    balance = sum(counted)
    side = (balance > 0) - (balance < 0)
    if not side:
        report.leave_out("raters disagree on an image, and the format has one label for each", key)
    for _ in said[1:] if side else ():
        report.leave_out("the format has one label for each image", key)
    return side
