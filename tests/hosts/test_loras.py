"""LoRA files found by the names in prompts: stems, aliases, sub-folders, changed and hostile files."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from lib_rankopt.diffusion.lora.tags import LoraTag
from lib_rankopt.diffusion.lora.targets import Target
from lib_rankopt.errors import InvalidInputError, ModelError, NotFoundError
from lib_rankopt.hosts.loras import LoraFolder
from tests.diffusion.lora.samples import random_lora, written
from tests.diffusion.lora.test_file import HOSTILE, WRONG

TARGETS: Mapping[str, Target] = {
    f"lora_unet_down_blocks_0_attentions_0_proj_{end}": Target(0, f"down_blocks.0.attentions.0.proj_{end}", (6, 5)) for end in ("in", "out")
}
STATE = random_lora(TARGETS)


def tag(name: str) -> LoraTag:
    return LoraTag(f"<lora:{name}:1>", name)


def check(folder: LoraFolder, prompt: str) -> None:
    folder.check(prompt, lambda: TARGETS, "sd1")


@pytest.fixture
def folder(tmp_path: Path) -> LoraFolder:
    written(tmp_path / "fox.safetensors", STATE)
    written(tmp_path / "styles/deep/Oil v1.5.safetensors", STATE, ss_output_name="oil")
    written(tmp_path / "other.SAFETENSORS", random_lora(TARGETS, seed=1), ss_output_name="fox")
    (tmp_path / "old.ckpt").write_bytes(b"")
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    return LoraFolder(tmp_path)


def test_files_are_found_by_stem_and_by_what_they_call_themselves(folder: LoraFolder, tmp_path: Path) -> None:
    found = {name: folder.find(tag(name)).relative_to(tmp_path).as_posix() for name in ("fox", "Oil v1.5", "oil", "other")}
    assert found == {
        "fox": "fox.safetensors",  # the file of that name comes before one that calls itself so
        "Oil v1.5": "styles/deep/Oil v1.5.safetensors",
        "oil": "styles/deep/Oil v1.5.safetensors",
        "other": "other.SAFETENSORS",
    }


@pytest.mark.parametrize("name", ["old", "../fox", "styles/deep/Oil v1.5", "FOXX", "nothing like it", "", "."])
def test_other_names_are_not_found(name: str, folder: LoraFolder, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"prompt: <lora:{name}:1> names a LoRA that is not in {tmp_path}"):
        folder.find(tag(name))


def test_close_names_are_told(folder: LoraFolder, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'oil'"):
        folder.find(tag("oils"))
    with pytest.raises(NotFoundError, match=r"there are 'Oil v1\.5', 'broken', 'fox', 'oil', 'other'"):
        folder.find(tag("xyz"))
    for number in range(20):
        written(tmp_path / f"many/{number:02}.safetensors", STATE)
    with pytest.raises(NotFoundError, match=r"there are '00', .*'07' and 17 more"):
        folder.find(tag("xyz"))
    with pytest.raises(NotFoundError, match=r"there is no \.safetensors file in it"):
        LoraFolder(tmp_path / "none").find(tag("xyz"))


def test_a_name_of_two_files_is_refused(folder: LoraFolder, tmp_path: Path) -> None:
    written(tmp_path / "more/fox.safetensors", STATE)
    written(tmp_path / "more/second.safetensors", STATE, ss_output_name="oil")
    for name in ("fox", "oil"):
        with pytest.raises(InvalidInputError, match=f"<lora:{name}:1> may mean .* or .*; give one of them another name"):
            folder.find(tag(name))


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_and_a_circle_ends(folder: LoraFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    written(elsewhere / "linked.safetensors", STATE)
    (tmp_path / "link").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(tmp_path, target_is_directory=True)
    assert folder.find(tag("linked")) == tmp_path / "link/linked.safetensors"


def test_without_a_folder_a_tag_is_refused() -> None:
    check(LoraFolder(None), "a fox")
    with pytest.raises(InvalidInputError, match="<lora:fox:1> asks for a LoRA, and this host was given no folder"):
        check(LoraFolder(None), "a <lora:fox:1>")


def test_targets_are_asked_for_only_where_there_is_a_tag(folder: LoraFolder) -> None:
    folder.check("a fox", lambda: pytest.fail("asked"), "sd1")
    assert folder.open("a fox", lambda: pytest.fail("asked"), "sd1") == ((), {})


@pytest.mark.parametrize("blob", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(blob: bytes, folder: LoraFolder, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(blob)
    for act in (folder.check, folder.open):
        with pytest.raises(ModelError, match=r"bad\.safetensors cannot be used as a LoRA"):
            act("<lora:bad>", lambda: TARGETS, "sd1")


@pytest.mark.parametrize("kind", WRONG)
def test_incomplete_files_are_refused(kind: str, folder: LoraFolder, tmp_path: Path) -> None:
    written(tmp_path / "bad.safetensors", WRONG[kind])
    with pytest.raises(ModelError, match=r"bad\.safetensors cannot be used as a LoRA"):
        folder.open("<lora:bad>", lambda: TARGETS, "sd1")
    if kind not in ("not finite", "alphas"):  # which a header does not tell
        with pytest.raises(ModelError, match=r"bad\.safetensors cannot be used as a LoRA"):
            check(folder, "<lora:bad>")


def test_a_file_for_another_model_is_refused(folder: LoraFolder, tmp_path: Path) -> None:
    wrong = {"lora_te2_text_model_encoder_layers_0_mlp_fc1": Target(2, "x", (6, 5))}
    written(tmp_path / "xl.safetensors", random_lora(wrong))
    for act in (folder.check, folder.open):
        with pytest.raises(ModelError, match=r"xl\.safetensors is a LoRA for another model than this one.*SD1\.x.*like one for SDXL"):
            act("<lora:xl>", lambda: TARGETS, "sd1")


def test_what_is_read_is_kept_while_it_is_used_and_read_anew_when_it_changes(folder: LoraFolder, tmp_path: Path) -> None:
    def opened() -> object:
        return folder.open("<lora:fox>", lambda: TARGETS, "sd1")[0][0]

    first = opened()
    assert opened().file is first.file
    path = tmp_path / "fox.safetensors"
    os.utime(path, ns=(1, 1))
    second = opened()
    assert second.file is not first.file
    written(path, random_lora(TARGETS, seed=9))
    os.utime(path, ns=(1, 2))
    third = opened()
    assert not any(torch.equal(third.changes[target].up, second.changes[target].up) for target in TARGETS.values())
    del first, second, third
    gc.collect()
    assert len(folder._read) == 0


def test_hashes_are_of_the_content_and_under_the_names_that_the_prompt_uses(folder: LoraFolder, tmp_path: Path) -> None:
    written(tmp_path / "a,b.safetensors", STATE, sshs_model_hash="ab" * 32)
    loras, hashes = folder.open("<lora:oil:0.5:2><lora:a,b:0> <lyco:other>", lambda: TARGETS, "sd1")
    blob = (tmp_path / "a,b.safetensors").read_bytes()
    digest = sha256(blob[8 + int.from_bytes(blob[:8], "little") :]).hexdigest()
    assert list(hashes) == ["oil", "ab", "other"]
    assert hashes["oil"] == hashes["ab"] == digest[:12]
    assert hashes["other"] != hashes["oil"]
    assert [(lora.te, lora.unet) for lora in loras] == [(0.5, 2.0), (0.0, 0.0), (1.0, 1.0)]
