"""The words the pocket model knows: concepts, styles, backgrounds, and the captions made of them."""

from __future__ import annotations

import re

# name -> Unicode code point of the emoji that draws it
CONCEPT_EMOJI: dict[str, str] = {
    "fox": "1f98a",
    "cat": "1f431",
    "dog": "1f436",
    "panda": "1f43c",
    "lion": "1f981",
    "tiger": "1f42f",
    "koala": "1f428",
    "frog": "1f438",
    "pig": "1f437",
    "rabbit": "1f430",
    "monkey": "1f435",
    "unicorn": "1f984",
    "owl": "1f989",
    "penguin": "1f427",
    "elephant": "1f418",
    "whale": "1f433",
    "tropical fish": "1f420",
    "octopus": "1f419",
    "crab": "1f980",
    "snail": "1f40c",
    "butterfly": "1f98b",
    "bee": "1f41d",
    "ladybug": "1f41e",
    "turtle": "1f422",
    "giraffe": "1f992",
    "dinosaur": "1f995",
    "flamingo": "1f9a9",
    "parrot": "1f99c",
    "shark": "1f988",
    "apple": "1f34e",
    "pear": "1f350",
    "banana": "1f34c",
    "grapes": "1f347",
    "watermelon": "1f349",
    "strawberry": "1f353",
    "cherries": "1f352",
    "pineapple": "1f34d",
    "lemon": "1f34b",
    "carrot": "1f955",
    "corn": "1f33d",
    "broccoli": "1f966",
    "eggplant": "1f346",
    "avocado": "1f951",
    "mushroom": "1f344",
    "pizza": "1f355",
    "hamburger": "1f354",
    "french fries": "1f35f",
    "doughnut": "1f369",
    "cookie": "1f36a",
    "birthday cake": "1f382",
    "ice cream": "1f366",
    "croissant": "1f950",
    "cup of coffee": "2615",
    "beer mug": "1f37a",
    "cactus": "1f335",
    "tree": "1f333",
    "palm tree": "1f334",
    "sunflower": "1f33b",
    "rose": "1f339",
    "tulip": "1f337",
    "clover": "1f340",
    "maple leaf": "1f341",
    "car": "1f697",
    "bus": "1f68c",
    "rocket": "1f680",
    "airplane": "2708",
    "helicopter": "1f681",
    "sailboat": "26f5",
    "tractor": "1f69c",
    "house": "1f3e0",
    "castle": "1f3f0",
    "balloon": "1f388",
    "gift": "1f381",
    "umbrella": "2614",
    "guitar": "1f3b8",
    "camera": "1f4f7",
    "television": "1f4fa",
    "alarm clock": "23f0",
    "light bulb": "1f4a1",
    "key": "1f511",
    "book": "1f4d5",
    "magnet": "1f9f2",
    "bell": "1f514",
    "crown": "1f451",
    "top hat": "1f3a9",
    "shirt": "1f455",
    "dress": "1f457",
    "backpack": "1f392",
    "soccer ball": "26bd",
    "trophy": "1f3c6",
    "die": "1f3b2",
    "teddy bear": "1f9f8",
    "robot": "1f916",
    "ghost": "1f47b",
    "skull": "1f480",
    "alien": "1f47d",
    "snowman": "26c4",
    "pumpkin": "1f383",
    "heart": "2764",
    "star": "2b50",
    "moon": "1f319",
    "rainbow": "1f308",
    "fire": "1f525",
    "diamond": "1f48e",
}

CONCEPTS: tuple[str, ...] = tuple(CONCEPT_EMOJI)
STYLES: tuple[str, ...] = ("3d", "sticker")
BACKGROUNDS: tuple[str, ...] = ("white", "black", "red", "yellow", "green", "blue", "purple", "pink")

# plain words that people put into prompts; they say nothing about the picture
FILLER: tuple[str, ...] = (
    "cute", "beautiful", "nice", "lovely", "detailed", "high quality", "masterpiece", "best quality", "small", "big",
    "cool", "funny", "pretty", "amazing", "simple", "colorful", "bright", "icon", "emoji", "sharp focus",
)  # fmt: skip

_ARTICLE = {"grapes": "", "cherries": "", "french fries": "", "ice cream": "an ", "fire": ""}


def article(words: str) -> str:
    """The article with its space in front of `words`: "a ", "an " or nothing."""
    if words in _ARTICLE:
        return _ARTICLE[words]
    return "an " if words[0] in "aeio" or words.startswith("umb") else "a "


def caption(concept: str | None = None, style: str | None = None, background: str | None = None) -> str:
    """The plain caption, as in "a 3d fox on a blue background"; whatever is None is left out.

    With no concept the empty string (unconditional) or "a blue background" comes back.
    """
    ground = f"a {background} background" if background else ""
    if concept is None:
        return ", ".join(filter(None, [style, ground]))
    noun = f"a {style} {concept}" if style else article(concept) + concept
    return f"{noun} on {ground}" if ground else noun


def _find(prompt: str, words: tuple[str, ...], pattern: str) -> str | None:
    """The word of `words` that occurs first in `prompt`; of two at one place, the longer."""
    hits = []
    for word in words:
        match = re.search(pattern.format(re.escape(word)), prompt)
        if match:
            hits.append((match.start(), -len(word), word))
    return min(hits)[2] if hits else None


def parse_caption(prompt: str) -> tuple[str | None, str | None, str | None]:
    """What a prompt asks for: (concept, style, background), None for what it does not name.

    A background counts only next to the word "background" or after "on"; otherwise "a rose" and
    "an orange" would have to be told from colours.
    """
    text = " ".join(prompt.lower().split())
    concept = _find(text, CONCEPTS, r"\b{0}\b")
    style = _find(text, STYLES, r"\b{0}\b")
    background = _find(text, BACKGROUNDS, r"\b{0}(?= background\b)|(?<=on ){0}\b|\bbackground {0}\b")
    return concept, style, background
