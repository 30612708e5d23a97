"""Open the images that training data name, and know them by their content."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.scorers.images import as_rgb
from lib_rankopt.store.blobs import image_hash
from lib_rankopt.training.data.records import TrainingImage

# what Pillow's parsers raise on files that strangers wrote
_BROKEN = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)


def open_rgb(path: Path) -> Image.Image:
    """Read an image as RGB; what is transparent is laid on white.

    Raises:
        InvalidInputError: missing, no image, damaged or far too large; the message names the file.
    """
    try:
        with Image.open(path) as opened:
            return as_rgb(opened)
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: there is no such image") from error
    except _BROKEN as error:
        raise InvalidInputError(f"{path}: no image that can be read ({error})") from error


def training_image(path: Path, model: str | None = None) -> TrainingImage:
    """The record of an image file; reads all of it, so that a damaged one is found before the run and not in the middle of it.

    Raises:
        InvalidInputError: as :func:`open_rgb`.
    """
    image = open_rgb(path)
    return TrainingImage(image_hash(image), path, image.width, image.height, model)
