"""The webui's model out of the way of a trainer, and back; and the trainer's files into the webui's list of LoRAs."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from modules import call_queue, sd_models, shared
from torch import Tensor

from lib_rankopt.diffusion.memory import release
from lib_rankopt.hosts.webui import probes

log = logging.getLogger("rankopt.hosts")

_FORGE = ("backend.memory_management", "ldm_patched.modules.model_management")  # of today's Forge, and of the first ones


@contextlib.contextmanager
def away() -> Iterator[None]:
    """Hold the webui's queue, so that nothing is generated meanwhile, with the model on the CPU."""
    with call_queue.queue_lock:
        forge = next((sys.modules[name] for name in _FORGE if name in sys.modules), None)
        if forge is not None:
            forge.unload_all_models()  # it loads what the next run needs by itself
            yield
            return
        # not shared.sd_model, which would load one now
        model: Any = sd_models.model_data.sd_model
        if model is not None:
            sd_models.send_model_to_cpu(model)
            release(shared.device)
        try:
            yield
        finally:
            if model is not None and model is sd_models.model_data.sd_model:
                sd_models.send_model_to_device(model)


def bring_back(denoiser: Any, x: Tensor) -> None:
    """Let Forge load the UNet again where a decoder has driven it out in the middle of a run; it does so by itself only at the beginning.

    Args:
        denoiser: the webui's ``CFGDenoiser``. x: what it is asked about next.
    """
    memory, sampling = (sys.modules.get(name) for name in (_FORGE[0], "backend.sampling.sampling_function"))
    if memory is None or sampling is None:
        return
    unet = denoiser.inner_model.inner_model.forge_objects.unet
    if all(one.model is not unet for one in memory.current_loaded_models):
        sampling.sampling_prepare(unet, x)


def load_again(p: Any, checkpoint: Any) -> None:
    """Load the checkpoint with which a run began, after its refiner; the run's sampler takes it up."""
    forge = getattr(sd_models, "forge_model_reload", None)
    if forge is None:
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=checkpoint)
    else:
        forge()  # the refiner has left the run's own checkpoint as the next one, but no LoRA
        if not p.disable_extra_networks:
            probes.optional("modules.extra_networks").activate(p, p.extra_network_data)
    p.sampler.model_wrap_cfg.model_wrap = None
    if forge is not None:
        p.sampler.model_wrap = p.sampler.model_wrap_cfg.inner_model


def find_loras() -> None:
    """Let the webui's own extension for LoRAs, or Forge's, look into its folder again."""
    networks = sys.modules.get("networks")
    if networks is None or not hasattr(networks, "list_available_networks"):
        return
    try:
        networks.list_available_networks()
    except Exception:  # it is the webui's, and the file can be found by its button all the same
        log.exception("the list of LoRAs could not be renewed")
