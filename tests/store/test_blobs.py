"""Files named by what they hold: identity, damage, full disks, names that try to climb out."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.selection.record import from_json
from lib_rankopt.store import BlobStore
from lib_rankopt.store.blobs import image_hash, latent_hash, write_atomically
from tests.selection.records import halved


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def an_image(seed: int = 0, size: tuple[int, int] = (20, 12)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def a_latent(seed: int = 0) -> torch.Tensor:
    return torch.randn((4, 8, 6), generator=torch.Generator().manual_seed(seed))


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


PARAMETERS = "ein Fuchs 🦊, <lora:x:1>\nNegative prompt: grün\nSteps: 20, Sampler: Euler"


def test_image_keeps_pixels_and_parameters(blobs: BlobStore, tmp_path: Path) -> None:
    image = an_image()
    name = blobs.put_image(image, PARAMETERS)
    assert files(tmp_path) == [tmp_path / "images" / name[:2] / f"{name}.png"]
    again = blobs.load_image(name)
    assert np.array_equal(np.asarray(again), np.asarray(image))
    assert again.info["parameters"] == PARAMETERS


def test_image_identity_is_its_pixels(blobs: BlobStore, tmp_path: Path) -> None:
    image = an_image()
    name = blobs.put_image(image, "one")
    assert blobs.put_image(image.copy(), "two") == name
    assert blobs.load_image(name).info["parameters"] == "one"
    assert len(files(tmp_path)) == 1
    other = image.copy()
    other.putpixel((3, 3), (1, 2, 3))
    turned = image.resize((12, 20)) if image.size == (20, 12) else image
    assert len({name, image_hash(other), image_hash(turned), image_hash(Image.frombytes("RGB", (12, 20), image.tobytes()))}) == 4


def test_image_stays_known_when_a_tool_rewrites_its_file(blobs: BlobStore) -> None:
    name = blobs.put_image(an_image(), PARAMETERS)
    blobs.load_image(name).save(blobs.image_path(name), "PNG", compress_level=9)
    assert image_hash(blobs.load_image(name)) == name


def test_latent_keeps_every_bit(blobs: BlobStore, tmp_path: Path) -> None:
    latent = a_latent()
    latent[0, 0, 0] = -0.0
    latent[0, 0, 1] = 1e-42
    name = blobs.put_latent(latent.permute(0, 2, 1).permute(0, 2, 1))
    again = blobs.load_latent(name)
    assert again.numpy().tobytes() == latent.numpy().tobytes()
    assert again.dtype == torch.float32
    with safe_open(str(blobs.latent_path(name)), "pt") as opened:
        assert opened.metadata()["shape"] == "4x8x6"


def test_latent_identity_is_shape_and_values() -> None:
    latent = a_latent()
    assert latent_hash(latent) == latent_hash(latent.clone())
    assert latent_hash(latent) != latent_hash(latent.reshape(4, 6, 8))
    assert latent_hash(latent) != latent_hash(latent + 1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_latents_with_nan_are_refused(blobs: BlobStore, tmp_path: Path, value: float) -> None:
    latent = a_latent()
    latent[1, 2, 3] = value
    with pytest.raises(InvalidInputError, match="not-a-number"):
        blobs.put_latent(latent)
    with pytest.raises(InvalidInputError):
        blobs.put_latent(torch.zeros(3))
    assert files(tmp_path) == []


@pytest.mark.parametrize("bad", ["", "ab", "../../etc/passwd", "A" * 64, "g" * 64, "a" * 63 + "\n", "a" * 65, "/" * 64, None, 5])
def test_only_hashes_become_paths(blobs: BlobStore, bad: object) -> None:
    for call in (blobs.image_path, blobs.latent_path, blobs.load_image, blobs.load_latent):
        with pytest.raises(InvalidInputError, match="no hash"):
            call(bad)  # type: ignore[arg-type]


def test_what_is_not_there(blobs: BlobStore) -> None:
    with pytest.raises(NotFoundError):
        blobs.load_image("a" * 64)
    with pytest.raises(NotFoundError):
        blobs.load_latent("a" * 64)
    blobs.delete({"a" * 64}, {"b" * 64})


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "other"])
def test_damage_is_found(blobs: BlobStore, harm: str) -> None:
    name, latent = blobs.put_image(an_image(), "p"), blobs.put_latent(a_latent())
    for path, load, wrong in (
        (blobs.image_path(name), lambda: blobs.load_image(name), lambda p: an_image(1).save(p, "PNG")),
        (blobs.latent_path(latent), lambda: blobs.load_latent(latent), lambda p: p.write_bytes(_other_latent(blobs))),
    ):
        data = path.read_bytes()
        if harm == "other":
            wrong(path)
        else:
            middle = len(data) // 2
            flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            path.write_bytes({"truncate": data[: len(data) // 2], "flip": flipped, "empty": b""}[harm])
        with pytest.raises(StoreError, match=path.name[:20]):
            load()


def _other_latent(blobs: BlobStore) -> bytes:
    return blobs.latent_path(blobs.put_latent(a_latent(9))).read_bytes()


def test_deleting_leaves_other_files(blobs: BlobStore, tmp_path: Path) -> None:
    image, latent = blobs.put_image(an_image(), "p"), blobs.put_latent(a_latent())
    kept = blobs.put_image(an_image(1), "p")
    blobs.delete({image}, {latent})
    assert files(tmp_path) == [blobs.image_path(kept)]


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_write_that_fails_leaves_nothing(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", fails)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", fails)
    else:
        monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(StoreError, match="disk is full" if number == errno.ENOSPC else "Permission denied"):
        blobs.put_image(an_image(), "p")
    assert files(tmp_path) == []


def test_a_full_disk_is_noticed_for_real(tmp_path: Path) -> None:
    """The system itself refuses to let the file grow."""
    script = f"""
import resource, signal, torch
from pathlib import Path
from lib_rankopt.errors import StoreError
from lib_rankopt.store import BlobStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
blobs = BlobStore(Path({str(tmp_path)!r}))
small = blobs.put_latent(torch.zeros(1, 8, 8))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    blobs.put_latent(torch.zeros(4, 64, 64))
except StoreError as error:
    assert "disk is full" in str(error), error
else:
    raise SystemExit("the file was written")
assert blobs.load_latent(small).shape == (1, 8, 8)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, cwd=Path(__file__).parents[2])
    assert len(files(tmp_path)) == 1


def test_threads_may_write_and_delete_the_same_file(blobs: BlobStore) -> None:
    image, wrong = an_image(), []
    name = image_hash(image)

    def work(deleting: bool) -> None:
        try:
            for _ in range(40):
                if deleting:
                    blobs.delete({name}, set())
                else:
                    blobs.put_image(image, "p")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i == 0,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert blobs.put_image(image, "p") == name
    assert image_hash(blobs.load_image(name)) == name


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "file"
    write_atomically(target, lambda f: f.write(b"old"))

    def breaks(file: object) -> None:
        file.write(b"ne")  # type: ignore[attr-defined]
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        write_atomically(target, breaks)
    assert target.read_bytes() == b"old"
    assert files(tmp_path) == [target]


def test_an_image_keeps_how_it_was_chosen(blobs: BlobStore) -> None:
    record = halved(8)
    name = blobs.put_image(an_image(), PARAMETERS, record)
    assert blobs.has_selection(name)
    assert blobs.load_selection(name) == record
    image = blobs.load_image(name)
    assert (image.info["parameters"], image_hash(image)) == (PARAMETERS, name)
    assert from_json(image.info["rankopt_selection"]) == record


def test_an_image_that_was_not_chosen_says_so(blobs: BlobStore) -> None:
    name = blobs.put_image(an_image(), PARAMETERS)
    assert blobs.load_selection(name) is None
    assert not blobs.has_selection(name)
    assert not blobs.has_selection("0" * 64)
    with pytest.raises(NotFoundError):
        blobs.load_selection("0" * 64)
    blobs.image_path(name).write_bytes(b"no PNG at all")
    assert blobs.load_selection(name) is None


def test_of_very_many_candidates_fewer_thumbnails_are_kept(blobs: BlobStore) -> None:
    """Pillow refuses to open a PNG with a text of more than 1 MiB."""
    large, larger = halved(128), halved(128)
    large = replace(large, thumbnails=tuple(tuple(one and one + "A" * 5000 for one in names) for names in large.thumbnails))
    larger = replace(larger, thumbnails=tuple(tuple(one and one + "A" * 50_000 for one in names) for names in larger.thumbnails))
    name, other = blobs.put_image(an_image(1), "", large), blobs.put_image(an_image(2), "", larger)
    kept = blobs.load_selection(name)
    assert kept is not None
    assert replace(kept, thumbnails=()) == replace(large, thumbnails=())
    assert [[one is not None for one in names] for names in kept.thumbnails] == [list(look.alive) for look in kept.looks]
    assert blobs.load_selection(other) == replace(larger, thumbnails=())
    blobs.load_image(name)


@pytest.mark.parametrize(
    "text", [b"{}", b"[1]", b"[" * 100_000, b'{"steps": Infinity}', b" " * 30_000_000, b"[]"],
    ids=["empty", "list", "deep", "infinite", "bomb", "nothing"],
)  # fmt: skip
def test_a_record_that_is_none_is_said_to_be(blobs: BlobStore, text: bytes) -> None:
    name = blobs.put_image(an_image(), PARAMETERS, halved(4))
    path = blobs.image_path(name)
    data = path.read_bytes()
    at = data.index(b"zTXt") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    body = b"zTXtrankopt_selection\0\0" + zlib.compress(text)
    path.write_bytes(data[:at] + (len(body) - 4).to_bytes(4, "big") + body + b"\0\0\0\0" + data[at + 12 + length :])
    with pytest.raises(StoreError, match="cannot be read"):
        blobs.load_selection(name)
