"""What an image was asked to show, as scorers read it: from its generation parameters, or from a caption beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.scorers.prompts import without_tags
from lib_rankopt.store.image_prompts import CAPTIONS, captions_beside, texts_in
from lib_rankopt.store.infotext import prompt_of as prompt_of_infotext

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CAPTIONS", "prompt_beside", "prompt_in", "prompt_of_infotext"]


def prompt_in(image: Image.Image) -> str:
    """Return the prompt of an opened image without its tags: of the PNG text ``parameters``, else of EXIF's UserComment, else empty.

    A PNG that has its texts behind the pixels shows them only once it is loaded.
    """
    return next((prompt for text in texts_in(image) if (prompt := without_tags(prompt_of_infotext(text)))), "")


def prompt_beside(path: Path) -> str:
    """Return the prompt in ``name.txt`` or ``name.caption`` beside an image, without its tags; empty where there is none.

    Raises:
        InvalidInputError: the caption cannot be read, or is not UTF-8.
    """
    # The webui can put the whole of the parameters into such a file.
    return next((prompt for text in captions_beside(path) if (prompt := without_tags(prompt_of_infotext(text)))), "")
