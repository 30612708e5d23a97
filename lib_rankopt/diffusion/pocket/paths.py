"""Where the pocket model's files are."""

from __future__ import annotations

from pathlib import Path

from lib_rankopt.errors import ModelError

POCKET_DIR: Path = Path(__file__).parent / "weights"


def existing(path: Path) -> Path:
    """`path`, which must be there.

    Raises:
        ModelError: it is not.
    """
    if not path.exists():
        raise ModelError(f"{path} is missing: the pocket model was not checked out, or make it with python -m tools.pocket.make")
    return path


def checkpoint_path() -> Path:
    """The single file in LDM layout (float16); its `.yaml` is beside it."""
    return existing(POCKET_DIR / "pocket.safetensors")


def tokenizer_dir() -> Path:
    """The folder of the tokenizer and of the text encoder's config.json."""
    return existing(POCKET_DIR / "tokenizer")
