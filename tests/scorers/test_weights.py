"""Files of weights: found, asked for, and downloaded from a small server that loses its connection."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib_rankopt.cli import main
from lib_rankopt.errors import ModelError
from lib_rankopt.scorers import hps, pickscore
from lib_rankopt.scorers.weights import WeightFile, WeightFolders

DATA = bytes(range(256)) * 12_000


class Server(ThreadingHTTPServer):
    """Serves DATA at every path.

    Attributes:
        cut: after how many bytes of an answer the connection is lost; 0 never.
        etag: what is said about the content's hash. ranges, tokens: what was asked for.
    """

    cut = 0
    etag = ""
    status = 200
    knows_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.tokens: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.pt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        self.server.tokens.append(self.headers.get("Authorization"))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.knows_ranges else 0
        body = DATA[start:]
        past = start >= len(DATA)
        self.send_response(416 if past else self.server.status if self.server.status != 200 else 206 if start else 200)
        if self.server.etag:
            self.send_header("X-Linked-Etag", f'"{self.server.etag}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut or None])

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def wanted(server: Server) -> WeightFile:
    return WeightFile(("weights.safetensors", "weights.pt"), 3, url=server.url)


def test_files_are_found_in_the_order_of_folders_and_names(tmp_path: Path) -> None:
    file = WeightFile(("a.safetensors", "b/a.pt"), 1, url="http://127.0.0.1/a.pt")
    folders = WeightFolders((tmp_path / "1", tmp_path / "2"))
    assert folders.find(file) is None
    with pytest.raises(ModelError, match=r"the file b/a\.pt \(1 MB\).*--download red"):
        folders.require(file, "red")
    for name in ("2/b/a.pt", "2/a.safetensors", "1/b/a.pt", "1/scorers/b/a.pt", "1/a.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert folders.find(file) == path
        assert folders.require(file, "red") == path


def test_a_page_for_people_is_not_downloaded(tmp_path: Path) -> None:
    file = WeightFile(("hpc.safetensors", "hpc.pt"), 1, url="https://github.com/tgxs002/align_sd")
    with pytest.raises(ModelError, match="by hand only"):
        WeightFolders((tmp_path,)).download(file)
    with pytest.raises(ModelError, match=r"hpc\.pt") as refused:
        WeightFolders((tmp_path,)).require(file, "hpsv1")
    assert "--download" not in str(refused.value)


def test_the_name_fits_what_is_published() -> None:
    assert hps.FILES["hpsv2.1"][0].published == "HPS_v2.1_compressed.pt"
    assert pickscore.FILES["pickscore"][0].published.endswith(".safetensors")


def test_a_download_goes_on_where_the_connection_was_lost(server: Server, tmp_path: Path) -> None:
    folders = WeightFolders((tmp_path,))
    reports: list[tuple[int, int]] = []
    server.etag = hashlib.sha256(DATA).hexdigest()
    server.cut = 2_000_000
    with pytest.raises(ModelError, match="run the same again"):
        folders.download(wanted(server))
    arrived = (tmp_path / "scorers" / "weights.pt.part").stat().st_size
    assert 0 < arrived <= 2_000_000
    assert folders.find(wanted(server)) is None
    server.cut = 0
    path = folders.download(wanted(server), lambda *report: reports.append(report))
    assert path == tmp_path / "scorers" / "weights.pt"
    assert path.read_bytes() == DATA
    assert server.ranges == [None, f"bytes={arrived}-"]
    assert reports[0][0] > arrived
    assert reports[-1] == (len(DATA), len(DATA))
    assert [one.name for one in path.parent.iterdir()] == ["weights.pt"]
    assert folders.download(wanted(server)) == path
    assert len(server.ranges) == 2


def test_what_was_complete_but_not_renamed(server: Server, tmp_path: Path) -> None:
    partial = tmp_path / "scorers" / "weights.pt.part"
    partial.parent.mkdir()
    partial.write_bytes(DATA)
    assert WeightFolders((tmp_path,)).download(wanted(server)).read_bytes() == DATA


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.cut, server.knows_ranges = 1_000_000, False
    with pytest.raises(ModelError):
        WeightFolders((tmp_path,)).download(wanted(server))
    server.cut = 0
    assert WeightFolders((tmp_path,)).download(wanted(server)).read_bytes() == DATA


def test_other_content_than_published_is_removed_and_said(server: Server, tmp_path: Path) -> None:
    server.etag = "0" * 64
    with pytest.raises(ModelError, match=r"weights\.pt arrived damaged .*000000000000"):
        WeightFolders((tmp_path,)).download(wanted(server))
    assert not list((tmp_path / "scorers").iterdir())


def test_no_server_and_no_such_file(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(ModelError, match="404"):
        WeightFolders((tmp_path,)).download(wanted(server))
    with pytest.raises(ModelError, match="cannot be downloaded"):
        WeightFolders((tmp_path,)).download(WeightFile(("a.pt",), 1, url="http://127.0.0.1:9/a.pt"))
    with pytest.raises(ModelError, match="no folder"):
        WeightFolders().download(wanted(server))


def test_the_token_goes_to_hugging_face_only(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    WeightFolders((tmp_path / "1",)).download(wanted(server))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    WeightFolders((tmp_path / "2",)).download(WeightFile(("weights.pt",), 3, repo="a/b", file="weights.pt"))
    assert server.tokens == [None, "Bearer secret"]


def test_download_as_its_user_types_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(pickscore.FILES, "pickscore", (wanted(server),))
    command = ["--data-dir", str(tmp_path), "score", "--download", "pickscore"]
    server.cut = 2_000_000
    assert main(command) == 2
    assert "run the same again to go on" in capsys.readouterr().err
    server.cut = 0
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.out == f"pickscore: {tmp_path / 'scorers' / 'weights.pt'} (fetched)\n"
    assert captured.err.splitlines()[-1] == "weights.pt: 3.1 of 3.1 MB, 100 %"
    blocked = tmp_path / "file"
    blocked.touch()
    assert main(["--data-dir", str(blocked), "score", "--download", "pickscore"]) == 2
    assert str(blocked) in capsys.readouterr().err
