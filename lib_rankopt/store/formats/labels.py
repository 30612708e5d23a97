"""Which images are liked, all told, for formats that can say no more than that."""

from __future__ import annotations

from collections.abc import Collection

from lib_rankopt.store.formats.base import Dataset, WriteReport
from lib_rankopt.store.formats.grouping import Tally

LIKED, DISLIKED = 1, -1
_NO_COMPARISONS = "the format has no rankings and pairs"
_SAID, _CONCLUDED = "said", "concluded"


class Labels(Tally):
    """Likes and dislikes by image. What was said on purpose wins over what was concluded; where raters disagree the majority counts."""

    def collect(self, dataset: Dataset, report: WriteReport, sides: Collection[int] = (LIKED, DISLIKED)) -> None:
        """Count all labels of a data set; what is none is left out in the report.

        Args:
            sides: of +1 and −1, those that the format has a place for.
        """
        for answer, images in dataset.feedback():
            side = {"like": LIKED, "dislike": DISLIKED}.get(answer.kind)
            if side is None:
                report.leave_out(_NO_COMPARISONS, answer.token)
            elif side not in sides:
                report.leave_out(f"the format as it was called has no {answer.kind}s", answer.token)
            else:
                self.add(images[0].key, _CONCLUDED if answer.source else _SAID, first=side, second=1)

    def of(self, key: str, report: WriteReport) -> int:
        """Return +1 of a liked image, −1 of a disliked one, 0 where nothing was said or opinions are even, which the report is told."""
        said, concluded = self.get(key, _SAID), self.get(key, _CONCLUDED)
        balance, votes = said if said[1] else concluded
        side = (balance > 0) - (balance < 0)
        unheard = said[1] + concluded[1] - (1 if side else 0)
        if votes and not side:
            report.leave_out("raters disagree on an image, and the format has one label for each", key)
        elif unheard:
            report.leave_out("an image has one label, and several answers are about it", key)
        return side
