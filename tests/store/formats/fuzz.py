"""Fuzzing of the readers, not part of the test suite: ``python -m tests.store.formats.fuzz kto --seconds 60``.

Guided by coverage where atheris is installed (``pip install atheris``); else good files are changed at random. A finding ends it with
the traceback, and the input lies in the folder that is named at the end.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

# format → module and class of its tests, whose case is taken
TARGETS = {
    "kto": ("test_kto", "TestDiffusionKto"),
    "hpd1": ("test_hpd", "TestHpd1"),
    "hpd2": ("test_hpd", "TestHpd2"),
    "imagereward": ("test_imagereward", "TestImageReward"),
    "imagereward-records": ("test_imagereward", "TestImageRewardRecords"),
    "image-ranker": ("test_image_ranker", "TestImageRanker"),
    "pickapic": ("test_pickapic", "TestPickAPic"),
    "pickapic-rankings": ("test_pickapic_rankings", "TestPickAPicRankings"),
}
LONGEST = 1 << 16


def main() -> int:
    """Fuzz one format for a while; returns 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.store.formats.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{wanted.target}-"))
    print(f"{wanted.target}: {wanted.seconds} s, in {folder}")
    if atheris is None:
        return _at_random(wanted.target, folder, wanted.seconds, wanted.seed)
    with atheris.instrument_imports(include=["lib_rankopt.store.formats"]):
        one, seeds = _prepared(wanted.target, folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    flags = [
        f"-max_total_time={wanted.seconds}",
        f"-max_len={LONGEST}",
        f"-seed={wanted.seed}",
        f"-artifact_prefix={folder}/",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
    atheris.Fuzz()
    return 0


def _prepared(target: str, folder: Path) -> tuple[Callable[[bytes], None], list[bytes]]:
    """What is done with one input, whose first byte says which file it replaces, and good inputs to begin with."""
    module, name = TARGETS[target]
    case = getattr(import_module(f"tests.store.formats.{module}"), name).case
    swallow = import_module("tests.store.formats.conformance").swallow
    made, (path, _) = case.format(), case.made(folder)
    files = sorted(file for file in path.glob(case.text) if file.is_file()) if path.is_dir() else [path]
    good = [file.read_bytes() for file in files]

    def one(data: bytes) -> None:
        if not data:
            return
        victim = data[0] % len(files)
        files[victim].write_bytes(data[1:])
        swallow(made, path)
        files[victim].write_bytes(good[victim])

    return one, [bytes([number]) + content for number, content in enumerate(good[:256])]


def _at_random(target: str, folder: Path, seconds: int, seed: int) -> int:
    one, seeds = _prepared(target, folder)
    chance, end, runs = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        try:
            one(bytes(data))
        except BaseException:
            (folder / "found").write_bytes(data)
            print(f"the input is {folder / 'found'}", file=sys.stderr)
            raise
        runs += 1
    print(f"{runs} runs, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
