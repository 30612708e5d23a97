"""What an image was asked to show: from its generation parameters, or from a caption beside it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers.prompts import without_tags

if TYPE_CHECKING:
    from PIL import Image

CAPTIONS = (".txt", ".caption")
_MOST_TEXT = 1 << 20  # bytes that are read of a caption
_NEGATIVE, _SETTINGS = "\nNegative prompt:", "\nSteps:"
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_CODES = {b"ASCII\0\0\0": "utf-8", b"\0\0\0\0\0\0\0\0": "utf-8"}
# Pillow reads what strangers' tools wrote with whatever its parsers happen to raise.
_BROKEN_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, struct.error)


def prompt_of_infotext(text: str) -> str:
    """The prompt in generation parameters as the webui writes them: before ``Negative prompt:`` and before the last ``Steps:`` line.

    Text that has neither is a prompt as a whole. Parameters that are a JSON object, as some programs write them under the same name, give
    their ``prompt``.
    """
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None  # {red|blue}, the syntax of random prompts
        if isinstance(found, dict):
            prompt = found.get("prompt", "")
            return prompt.strip() if isinstance(prompt, str) else ""
    text = "\n" + text.replace("\r\n", "\n").strip()
    if _SETTINGS in text:
        text = text[: text.rindex(_SETTINGS)]
    return text.partition(_NEGATIVE)[0].strip()


def prompt_in(image: Image.Image) -> str:
    """Return the prompt of an opened image without its tags: of the PNG text ``parameters``, else of EXIF's UserComment, else empty.

    A PNG that has its texts behind the pixels shows them only once it is loaded.
    """
    for text in (image.info.get("parameters"), _user_comment(image)):
        if isinstance(text, str) and (prompt := without_tags(prompt_of_infotext(text))):
            return prompt
    return ""


def prompt_beside(path: Path) -> str:
    """Return the prompt in ``name.txt`` or ``name.caption`` beside an image, without its tags; empty where there is none.

    Raises:
        InvalidInputError: the caption cannot be read, or is not UTF-8.
    """
    for suffix in CAPTIONS:
        caption = path.with_suffix(suffix)
        try:
            with caption.open("rb") as file:
                text = file.read(_MOST_TEXT).decode("utf-8-sig")
        except (FileNotFoundError, IsADirectoryError):
            continue
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"the caption {caption.name} is not UTF-8 ({error.reason} at byte {error.start})") from error
        except OSError as error:
            raise InvalidInputError(f"the caption {caption.name} cannot be read ({error.strerror or error})") from error
        # The webui can put the whole of the parameters into such a file.
        if prompt := without_tags(prompt_of_infotext(text)):
            return prompt
    return ""


def _user_comment(image: Image.Image) -> str:
    try:
        raw = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    except _BROKEN_EXIF:
        return ""
    return _decoded(raw) if isinstance(raw, bytes) else str(raw)


def _decoded(raw: bytes) -> str:
    """EXIF's UserComment: eight bytes that name the encoding, then text."""
    code, body = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        # The standard leaves the order of bytes open. The webui writes the high one first, other programs the low one, some with a mark.
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return body.decode("utf-16", "replace")
        return body.decode("utf-16-le" if body[1::2].count(0) > body[::2].count(0) else "utf-16-be", "replace")
    return body.decode(_CODES[code], "replace").rstrip("\0") if code in _CODES else raw.decode("utf-8", "replace")
