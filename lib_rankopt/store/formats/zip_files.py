"""Our archives as zip files: written in one go, and read as if a stranger had made them to do harm.

Nothing is ever unpacked to disk. Members are read one at a time, each up to a size; images and latents are named by the sha256 of their
bytes or of what they hold, and the hashes of all else stand in ``manifest.json``.
"""

from __future__ import annotations

import json
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from lib_rankopt import __version__
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, folders
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.text import Line
from lib_rankopt.store.formats.writing import whole_file

SUFFIX = ".rankopt.zip"
MANIFEST = "manifest.json"
FORMAT, VERSION = "rankopt-archive", 1
_OURS = re.compile(
    r"manifest\.json|images\.jsonl|feedback\.jsonl|study\.json"
    r"|images/(?P<i>[0-9a-f]{2})/(?P=i)[0-9a-f]{62}\.(?:png|jpg|webp|gif|bmp|tif)|latents/(?P<l>[0-9a-f]{2})/(?P=l)[0-9a-f]{62}\.safetensors"
)
_MOST_MEMBERS = 4_000_000
_MOST_DIRECTORY = 512 << 20  # bytes
_MOST_RATIO, _SPARE = 200, 64 << 20  # what all members may unpack to: so many times the file, and so many bytes besides
_LONGEST_LINE = 16 << 20
_CHUNK = 1 << 20
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, LookupError,
    MemoryError, OverflowError,
)  # fmt: skip


class ArchiveReader:
    """An open archive whose list of members is in order.

    Raises:
        InvalidInputError: no zip file, truncated, no archive of ours, of a newer version, or one made to do harm; says which.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        with ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("rb"))
                size = path.stat().st_size
                _check_directory(file, size)
                self._zip = opened.enter_context(zipfile.ZipFile(file))
                self._members = _checked(self._zip.infolist(), size)
            except InvalidInputError as error:
                raise InvalidInputError(f"{path}: {error}.") from error
            except FileNotFoundError as error:
                raise InvalidInputError(f"There is no file {path}.") from error
            except _BROKEN as error:
                raise InvalidInputError(f"{path} is no archive that can be read: {error or type(error).__name__}.") from error
            self.manifest: Mapping[str, Any] = {"members": {}}
            self.manifest = self._read_manifest(kind)
            self._opened = opened.pop_all()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def has(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return name in self._members

    def read(self, name: str, most: int = files.MOST_BYTES) -> bytes:
        """Return a member's bytes, checked against the hash in its name or in the manifest.

        Raises:
            InvalidInputError: it is missing, damaged, or has more than ``most`` bytes.
        """
        with self._member(name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise InvalidInputError(f"{name} has more than {most >> 20} MiB")
        self._check_hash(name, sha256(data).hexdigest())
        return data

    def check(self, name: str) -> None:
        """Read a member to its end and check its hash, whatever its size.

        Raises:
            InvalidInputError: it is missing or damaged.
        """
        digest = sha256()
        with self._member(name) as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
        self._check_hash(name, digest.hexdigest())

    def lines(self, name: str) -> Iterator[Line]:
        """Yield the values of a member with one JSON value a line; ``done`` is the number of the line.

        Raises:
            InvalidInputError: the member is missing or damaged.
        """
        with self._member(name) as file:
            for number, raw in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
                try:
                    yield Line(json.loads(raw), number, number)
                except (ValueError, RecursionError) as error:
                    yield Line(None, number, number, f"no JSON ({error})")

    def json(self, name: str, most: int) -> Any:
        """Return a member's one JSON value.

        Raises:
            InvalidInputError: as :meth:`read`, or it is no JSON.
        """
        raw = self.read(name, most)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{name} is no JSON ({error})") from error

    @contextmanager
    def _member(self, name: str) -> Iterator[IO[bytes]]:
        if name not in self._members:
            raise InvalidInputError(f"there is no {name[:200]} in the archive")
        try:
            with self._zip.open(self._members[name]) as file:
                yield file
        except InvalidInputError:
            raise
        except _BROKEN as error:
            raise InvalidInputError(f"{name} cannot be read ({error or type(error).__name__})") from error

    def _check_hash(self, name: str, found: str) -> None:
        expected = self.manifest["members"].get(name) if name != MANIFEST else found
        if expected is None and name.startswith("images/"):
            expected = name[10:74]
        if expected != found:
            raise InvalidInputError(f"{name} is not what it was when the archive was made: its sha256 is another one")

    def _read_manifest(self, kind: str) -> Mapping[str, Any]:
        try:
            manifest = self.json(MANIFEST, 256 << 20)
            if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest.get("members"), dict):
                raise InvalidInputError(f"{MANIFEST} is none of ours")
            if manifest.get("format_version") != VERSION:
                version = str(manifest.get("format_version"))[:20]
                raise InvalidInputError(f"it is of version {version}, and this program reads version {VERSION}; update the program")
            if manifest.get("kind") != kind:
                raise InvalidInputError(f"it holds a {str(manifest.get('kind'))[:40]}, and a {kind} is expected")
        except InvalidInputError as error:
            raise InvalidInputError(f"{self._path} is no archive that can be read: {error}.") from error
        return manifest


def _check_directory(file: IO[bytes], size: int) -> None:
    """See how many members a zip file has before any of them is taken into memory.

    Raises:
        InvalidInputError: no zip file, truncated, too many members.
    """
    back = min(size, 22 + 0xFFFF)
    file.seek(size - back)
    tail = file.read(back)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise InvalidInputError("it is no zip file, or is cut off at the end")
    end = size - back + at
    (length,) = struct.unpack_from("<L", tail, at + 12)
    if length == 0xFFFFFFFF:
        file.seek(max(end - 20, 0))
        locator = file.read(20)
        if locator[:4] != _LOCATOR64:
            raise InvalidInputError("its list of members is damaged")
        (where,) = struct.unpack_from("<Q", locator, 8)
        file.seek(min(where, size))
        record = file.read(56)
        if len(record) < 56 or record[:4] != _END64:
            raise InvalidInputError("its list of members is damaged")
        (length,) = struct.unpack_from("<Q", record, 40)
    if length > min(_MOST_DIRECTORY, size):
        raise InvalidInputError(f"its list of members is said to have {length >> 20} MiB; at most {_MOST_DIRECTORY >> 20} are read")
    file.seek(max(end - length - 96, 0))
    if file.read(length + 96).count(b"PK\1\2") > _MOST_MEMBERS:
        raise InvalidInputError(f"it has more than {_MOST_MEMBERS} members")


def _checked(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members that are ours by name; those that do no harm are passed over.

    Raises:
        InvalidInputError: anything that an archive of ours never has.
    """
    seen: set[str] = set()
    members: dict[str, zipfile.ZipInfo] = {}
    packed = unpacked = 0
    for info in infos:
        name = info.filename
        _check_member(info)
        if name.casefold() in seen:
            raise InvalidInputError(f"two members have the name {name[:200]}")
        seen.add(name.casefold())
        packed, unpacked = packed + info.compress_size, unpacked + info.file_size
        if _OURS.fullmatch(name):
            members[name] = info
    if packed > size:
        raise InvalidInputError("its members overlap, or it is cut off")
    if unpacked > _MOST_RATIO * size + _SPARE:
        raise InvalidInputError(f"its members would unpack to {unpacked >> 20} MiB, more than {_MOST_RATIO} times the file")
    return members


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.filename
    if name != info.orig_filename or "\\" in name or files.relative(name) != name.rstrip("/"):
        raise InvalidInputError(f"a member has the name {info.orig_filename[:200]!r}, which no archive of ours has")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise InvalidInputError(f"the member {name[:200]} is a link")
    if info.flag_bits & 0x1:
        raise InvalidInputError(f"the member {name[:200]} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInputError(f"the member {name[:200]} is packed in a way that no archive of ours is ({info.compress_type})")
    if name.startswith(("images/", "latents/")) and info.file_size > files.MOST_BYTES:
        raise InvalidInputError(f"the member {name[:200]} is said to have {info.file_size >> 20} MiB")


# -- writing


class ArchiveWriter:
    """An archive that is being written; see :func:`new_archive`. Members have no times, so that equal content gives equal files."""

    def __init__(self, target: zipfile.ZipFile, spools: Path, known: Tally) -> None:
        self._zip, self._spools, self._known = target, spools, known
        self._members: dict[str, str] = {}

    def put_image(self, data: bytes) -> str:
        """Add an image's file unless it is in; return its name.

        Raises:
            InvalidInputError: no image of a kind that we read.
        """
        digest = sha256(data).hexdigest()
        name = f"images/{digest[:2]}/{digest}{files.suffix_of(data)}"
        if self._known.once(digest):
            self._zip.writestr(_info(name, zipfile.ZIP_STORED), data)
        return name

    def put(self, name: str, data: bytes) -> None:
        """Add a file whose hash goes into the manifest."""
        self._zip.writestr(_info(name, zipfile.ZIP_STORED if name.startswith("latents/") else zipfile.ZIP_DEFLATED), data)
        self._members[name] = sha256(data).hexdigest()

    def put_spool(self, name: str, spool: IO[bytes]) -> None:
        """Add what was written into a temporary file, however large; its hash goes into the manifest."""
        digest = sha256()
        spool.seek(0)
        with self._zip.open(_info(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as out:
            while piece := spool.read(_CHUNK):
                digest.update(piece)
                out.write(piece)
        self._members[name] = digest.hexdigest()

    def spool(self) -> IO[bytes]:
        """Return a temporary file beside the archive, which has no name and is gone when it is closed."""
        return tempfile.TemporaryFile(dir=self._spools)

    def finish(self, kind: str, about: Mapping[str, Any]) -> None:
        """Add the manifest."""
        head = {"format": FORMAT, "format_version": VERSION, "program": f"rank-optimize {__version__}", "kind": kind}
        manifest = {**head, **about, "images": "named by the sha256 of their bytes", "members": self._members}
        self._zip.writestr(_info(MANIFEST, zipfile.ZIP_DEFLATED), folders.line(manifest))


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Write an archive that appears under its name when the block ends without an error.

    Raises:
        InvalidInputError: there is something of that name. StoreError: it cannot be written.
    """
    if path.exists():
        raise InvalidInputError(f"{path} is there already; choose another name.")
    with whole_file(path) as file, Tally() as known, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as target:
        yield ArchiveWriter(target, path.parent, known)


def _info(name: str, packed: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # of 1980
    info.compress_type = packed
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info
