"""Many rankings, one picture: strengths with uncertainty, which comparison to ask for next, and how far raters agree.

Pure functions over images known by number; numpy and scipy only.
"""

from lib_rankopt.evaluation.preferences.agreement import Agreement, RaterAgreement, agreement, outcomes
from lib_rankopt.evaluation.preferences.fit import PRIOR_SD, Ratings, fit
from lib_rankopt.evaluation.preferences.next_comparison import Pool, choose, information
from lib_rankopt.evaluation.preferences.online import update, update_label
from lib_rankopt.evaluation.preferences.progress import Progress, progress
from lib_rankopt.evaluation.preferences.records import Builder, Comparisons

__all__ = [
    "Builder",
    "Comparisons",
    "PRIOR_SD",
    "Ratings",
    "fit",
    "update",
    "update_label",
    "Pool",
    "choose",
    "information",
    "Progress",
    "progress",
    "Agreement",
    "RaterAgreement",
    "agreement",
    "outcomes",
]
