"""A small stand-in for the webui's ``modules``: the names that Rank-Optimize touches, in the order in which the webui calls its hooks.

Nothing here is the webui's code. What the real one does is in the tests of ``tests/webui``, which run against an installation; the
names are held against ``tests/hosts/webui_names.yaml``.
"""
