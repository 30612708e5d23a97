"""Run by the webui at every start: adds what is missing and never moves a package that is there.

The extension needs a few packages that the webui does not have, two of them to train LoRAs. All else that it uses is the webui's own.
"""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path

# By distribution: least version, requirement. Proven against the webui's pins, see requirements/a1111.txt.
NEEDED = {
    "SQLAlchemy": ((2, 0, 30), "SQLAlchemy>=2.0.30,<2.1"),
    "cma": ((4, 0), "cma>=4.0,<5"),
    "greenlet": ((3, 0), "greenlet>=3.0"),
    "diffusers": ((0, 29), "diffusers>=0.29,<0.32"),
    "peft": ((0, 11), "peft>=0.11,<0.14"),
}


def installed(name: str) -> tuple[int, ...] | None:
    """Version of a distribution as far as it is numbers; ``None`` where there is none. Nothing is imported, to cost no time."""
    try:
        text = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def main() -> None:
    """Install what is missing; say what to do where that cannot be done."""
    for name, (least, requirement) in NEEDED.items():
        version = installed(name)
        if version is None:
            install(requirement)
        elif version < least:
            print(f"Rank-Optimize needs {requirement}. Another version is there and was left alone, as something else may need it.")


def install(requirement: str) -> None:
    """Add one package, as the webui does it."""
    import launch

    if launch.args.skip_install:
        print(f"Rank-Optimize needs {requirement}, and --skip-install is set. Install it by hand: pip install '{requirement}'")
        return
    frozen = constraints()
    try:
        launch.run_pip(f'install "{requirement}" -c "{frozen}"', f"Rank-Optimize requirement: {requirement}")
    except RuntimeError as error:
        print(f"Rank-Optimize could not install {requirement}: {error}\nInstall it by hand and restart.")
    finally:
        Path(frozen).unlink()


def constraints() -> str:
    """A file that holds pip to the versions that are there, so that what comes with a package moves nothing; path of a temporary file."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False, encoding="utf-8") as file:
        for found in metadata.distributions():
            name, version = found.metadata["Name"], found.version
            # versions with a local part (torch 2.1.2+cu121) are on no index, so pip could not look them up
            if name and version and "+" not in version:
                file.write(f"{name}=={version}\n")
    return file.name


if __name__ == "__main__":
    main()
