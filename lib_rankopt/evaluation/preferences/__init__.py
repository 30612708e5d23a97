"""Many rankings, one picture: strengths with uncertainty, which comparison to ask for next, and how far raters agree.

Pure functions over images known by number; numpy and scipy only.
"""
