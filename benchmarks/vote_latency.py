"""How long a vote takes: until it shows, and until the server has it; beside a bare FastAPI route in the same run.

    python -m benchmarks.vote_latency [--votes 100] [--json]

Three times per vote, in a real Chromium on the standalone page: key press → badge on the page (one key press through the browser's
input queue, until the next frame is painted), like → acknowledged (the answer of ``POST …/feedback`` is there), and, as the limit,
``POST`` to a FastAPI route that does nothing, from the same page. The served study is the real one where its packages are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks._memory import peak_mib

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")

SHOWN = """place => new Promise(done => {
    const card = document.querySelectorAll('.ro-grid .ro-card')[place];
    const badge = card.querySelector('.ro-badge');
    const before = badge.textContent;
    addEventListener('keydown', event => {
        const pressed = event.timeStamp;
        const look = () => badge.textContent === before ? requestAnimationFrame(look)
            : requestAnimationFrame(() => setTimeout(() => done(performance.now() - pressed)));
        look();
    }, {capture: true, once: true});
})"""

ACKNOWLEDGED = """place => new Promise(done => {
    const card = document.querySelectorAll('.ro-grid .ro-card')[place];
    let begun;
    document.addEventListener('rankopt:acknowledged', () => done(performance.now() - begun), {once: true});
    begun = performance.now();
    card.querySelector('.ro-like').click();
})"""

BARE = """async () => {
    const shown = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const body = JSON.stringify({kind: 'like', tiers: [['x']], shown, token: String(Math.random())});
    const begun = performance.now();
    await (await fetch('bare', {method: 'POST', headers: {'Content-Type': 'application/json'}, body})).json();
    return performance.now() - begun;
}"""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Latency of a vote in the browser.")
    parser.add_argument("--votes", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("skipped: playwright is not installed")
        return 0
    path = os.environ.get("RANKOPT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        print("skipped: there is no Chromium here; set RANKOPT_CHROMIUM to its path")
        return 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server, url = start_server(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            result = measure(browser.new_page(), url, options.votes)
            browser.close()
        finally:
            server.kill()
            server.wait()
    report(result, options.json)
    if not options.json:
        print(f"peak memory of the server {peak_mib(children=True):.0f} MiB")
    return 0


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """The page over a service, with one bare route beside it."""
    command = [sys.executable, "-c", SERVER, str(folder)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    if not url:
        raise RuntimeError("the server did not start")
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}rankopt/v1/version", timeout=2).read()
            return server, url
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not answer within a minute")


SERVER = """
import sys
from pathlib import Path
import uvicorn
from benchmarks.vote_latency import make_service
from lib_rankopt.ui.standalone import build_page, free_socket

service, info = make_service(Path(sys.argv[1]))
app = build_page(service, info=info)
app.router.routes.insert(0, __import__("fastapi").routing.APIRoute("/bare", lambda: {"ok": True}, methods=["POST"]))
listener = free_socket("127.0.0.1", 0)
print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
"""


def make_service(folder: Path) -> tuple[Any, Any]:
    """The real service with a host that paints at once, or the tests' stand-in where torch is not installed."""
    try:
        from lib_rankopt.studies.service import StudyService
        from tests.studies.fakes import FakeHost

        return StudyService(folder, FakeHost()), None
    except ImportError:
        from tests.api.fake_service import HOST_INFO, FakeService

        return FakeService(folder, 0.01), HOST_INFO


def measure(page: Any, url: str, votes: int) -> dict[str, dict[str, float]]:
    """Vote, and note the milliseconds."""
    page.goto(url)
    page.wait_for_selector("#rankopt_prompt textarea")
    page.fill("#rankopt_prompt textarea", "a valley to be voted on")
    page.click("#rankopt_generate")
    page.wait_for_function("document.querySelectorAll('.ro-card.ro-loaded:not(.ro-waiting)').length === 8", timeout=120_000)
    page.wait_for_function("rankopt.board.state.sending === 0")
    times: dict[str, list[float]] = {"key press to badge": [], "vote to acknowledgement": [], "bare FastAPI route": []}
    for number in range(votes):
        place = number % 8
        page.evaluate(f"place => {{ window.shown = ({SHOWN})(place); }}", place)
        page.keyboard.press(str(place + 1))
        times["key press to badge"].append(page.evaluate("window.shown"))
        times["vote to acknowledgement"].append(page.evaluate(ACKNOWLEDGED, place))
        page.wait_for_function("rankopt.board.state.sending === 0")
        times["bare FastAPI route"].append(page.evaluate(BARE))
    return {name: summary(values) for name, values in times.items()}


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the slowest, in milliseconds."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return {"n": len(values), "median": statistics.median(values), "p95": p95, "max": ordered[-1]}


def report(result: dict[str, dict[str, float]], as_json: bool) -> None:
    """Print a table and the ratio to the bare route."""
    ratio = result["vote to acknowledgement"]["median"] / result["bare FastAPI route"]["median"]
    if as_json:
        print(json.dumps({**result, "ratio to bare": ratio}))
        return
    for name, row in result.items():
        print(f"{name:26s} median {row['median']:6.1f} ms   p95 {row['p95']:6.1f} ms   max {row['max']:6.1f} ms   n {row['n']}")
    print(f"acknowledgement / bare route: {ratio:.2f}")


if __name__ == "__main__":
    raise SystemExit(main())
