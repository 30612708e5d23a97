"""Does it help: win rates, intervals, held-out judges."""

from lib_rankopt.evaluation.statistics import Estimate, mean_interval, wilson_interval

__all__ = ["Estimate", "mean_interval", "wilson_interval"]
