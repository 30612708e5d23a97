"""A round in a running webui, beside its own txt2img with the same batch, one after the other in the same run.

    python -m benchmarks.webui_round --url http://127.0.0.1:7860 [--size 64] [--repeats 25] [--json]

The webui runs with ``--api`` and this extension, and is not used by anybody else meanwhile. Both sides are asked over HTTP, make the same
number of images of the same prompt, size, steps, sampler and guidance in one batch, and save them. A round's time is what the person
waits: from the request to the last image on disk, proposals included. Compared are the fastest of the repeats, because what else the
machine does only ever adds, and each round with the txt2img just before it (median and quartiles), because a machine's pace drifts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from typing import Any

IMAGES = 8
STEPS = 20
PROMPT = "a 3d fox on a blue background"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="of the running webui")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    if not given.url:
        print("not measured: start a webui with --api and this extension, and give its --url")
        return 0
    result = measure(given.url.rstrip("/"), given.size, given.repeats)
    if given.json:
        print(json.dumps(result))
        return 0
    print(f"{IMAGES} images of {given.size} px, {STEPS} steps, {given.repeats} times each; seconds, fastest and median")
    print(f"  txt2img, batch {IMAGES}: {result['txt2img']:.2f}  {result['txt2img_median']:.2f}")
    print(f"  a round:          {result['round']:.2f}  {result['round_median']:.2f}")
    print(f"ratio {result['ratio']:.3f} of txt2img (medians {result['ratio_median']:.3f})")
    low, middle, high = (1000 * result[name] for name in ("more_low", "more", "more_high"))
    print(f"a round less the txt2img before it: {middle:+.0f} ms (quartiles {low:+.0f} to {high:+.0f})")
    print(f"the webui holds {result['held_mib']:.0f} MiB at the end")
    return 0


def measure(url: str, size: int, repeats: int) -> dict[str, float]:
    """Take both times alternately, after one of each that does not count."""
    common = {"width": size, "height": size, "steps": STEPS, "cfg_scale": 7.0, "prompt": PROMPT}
    settings = {**common, "sampler": "Euler", "candidates": IMAGES, "batch_size": IMAGES, "seed": 5}
    study = call(url, "rankopt/v1/studies", {"settings": settings, "name": "benchmark"})["id"]
    body = {**common, "sampler_name": "Euler", "batch_size": IMAGES, "seed": 5, "save_images": True}
    plain: list[float] = []
    rounds: list[float] = []
    try:
        for repeat in range(repeats + 1):
            begun = time.perf_counter()
            call(url, "sdapi/v1/txt2img", body)
            between = time.perf_counter()
            view = one_round(url, study)
            done = time.perf_counter()
            answer = {"kind": "skip", "shown": view["order"]}  # so that the next round is fresh again
            call(url, f"rankopt/v1/studies/{study}/rounds/{view['index']}/feedback", answer)
            if repeat:
                plain.append(between - begun)
                rounds.append(done - between)
    finally:
        call(url, f"rankopt/v1/studies/{study}", None, "DELETE")
    memory = call(url, "sdapi/v1/memory", None, "GET")["ram"].get("used", 0)
    low, middle, high = statistics.quantiles((ours - theirs for ours, theirs in zip(rounds, plain, strict=True)), n=4)
    return {
        "more_low": low, "more": middle, "more_high": high,
        "size": size, "txt2img": min(plain), "txt2img_median": statistics.median(plain), "round": min(rounds),
        "round_median": statistics.median(rounds), "ratio": min(rounds) / min(plain),
        "ratio_median": statistics.median(rounds) / statistics.median(plain), "held_mib": memory / 2**20,
    }  # fmt: skip


def one_round(url: str, study: str) -> dict[str, Any]:
    """Start a round, wait for its images by the long poll that the page uses, and return it.

    Raises:
        RuntimeError: it could not be made.
    """
    index = call(url, f"rankopt/v1/studies/{study}/rounds", {})["index"]
    version = 0
    while True:
        progress = call(url, f"rankopt/v1/studies/{study}/progress?since={version}&timeout=20", None, "GET")
        version = progress["version"]
        if progress["job"] == "idle":
            view = call(url, f"rankopt/v1/studies/{study}/rounds/{index}", None, "GET")
            if view["status"] == "ready":
                return dict(view)
            if view["status"] not in ("queued", "generating"):
                raise RuntimeError(f"the round is {view['status']}: {view['error']}")


def call(url: str, path: str, body: Any, method: str = "POST") -> Any:
    """Send JSON and return JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=1200) as answer:
        return json.loads(answer.read() or "null")


if __name__ == "__main__":
    raise SystemExit(main())
