"""Checkpoints."""

from types import SimpleNamespace

from modules import shared

model_path = "/models"
checkpoints_list = {}
checkpoint_aliases = {}


def add(name, sha256):
    """Put a checkpoint on the list."""
    info = SimpleNamespace(
        name=name, filename=f"{model_path}/{name}", is_safetensors=False, sha256=sha256, hash=sha256[:8],
        calculate_shorthash=lambda: sha256[:10],
    )  # fmt: skip
    checkpoints_list[f"{name} [{sha256[:10]}]"] = info
    checkpoint_aliases[name] = info
    return info


def get_closet_checkpoint_match(name):
    return checkpoint_aliases.get(name)


def send_model_to_cpu(m):
    m.place = "cpu"


def send_model_to_device(m):
    m.place = "device"


shared.sd_model.sd_checkpoint_info = add("model.safetensors", "ab" * 32)
add("other.safetensors", "cd" * 32)
model_data = SimpleNamespace(sd_model=shared.sd_model)
