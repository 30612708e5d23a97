"""Options, state and the loaded model."""

from types import SimpleNamespace

import torch

from modules import paths


class OptionInfo:
    """One setting."""

    def __init__(self, default, label="", component=None, component_args=None, onchange=None, section=None, infotext=None):
        self.default, self.label, self.section, self.infotext = default, label, section, infotext
        self.component, self.component_args, self.onchange = component, component_args, onchange

    def info(self, _text):
        return self

    def needs_restart(self):
        return self


class OptionHTML(OptionInfo):
    """Words among the settings."""


class Options:
    """Settings by name."""

    def __init__(self):
        self.data_labels = {
            "CLIP_stop_at_last_layers": OptionInfo(1, infotext="Clip skip"), "sd_vae": OptionInfo("Automatic", infotext="VAE"),
            "eta_noise_seed_delta": OptionInfo(0, infotext="ENSD"), "sd_model_checkpoint": OptionInfo(None, infotext="Model hash"),
            "outdir_samples": OptionInfo(""),
        }  # fmt: skip
        self.CLIP_stop_at_last_layers, self.sd_vae, self.eta_noise_seed_delta = 1, "Automatic", 0
        self.data = {}
        self.outdir_samples = self.outdir_grids = ""
        self.outdir_txt2img_samples = self.outdir_img2img_samples = paths.data_path
        self.temp_dir = ""
        self.sd_model_checkpoint = "model.safetensors"

    def add_option(self, key, info):
        self.data.setdefault(key, info.default)
        self.data_labels[key] = info


class Styles:
    """Texts that are put around a prompt."""

    def __init__(self):
        self.styles = {"oil": ("oil painting of {prompt}", "photo")}

    def apply_styles_to_prompt(self, prompt, names):
        for name in names:
            prompt = self.styles[name][0].replace("{prompt}", prompt)
        return prompt

    def apply_negative_styles_to_prompt(self, prompt, names):
        return ", ".join([prompt, *(self.styles[name][1] for name in names)]).strip(", ")


class State:
    """The job under way, and what the person has pressed."""

    def __init__(self):
        self.interrupted = self.skipped = self.stopping_generation = False
        self.job = ""
        self.job_count = -1
        self.sampling_steps = 0
        self.seen = []

    def begin(self, job="(unknown)"):
        self.interrupted = self.skipped = self.stopping_generation = False
        self.job, self.job_count = job, -1
        self.seen.append(job)

    def end(self):
        self.job = ""

    def interrupt(self):
        self.interrupted = True

    def skip(self):
        self.skipped = True


cmd_opts = SimpleNamespace(
    api_auth=None, gradio_auth=None, gradio_auth_path=None, ckpt_dir=None, lora_dir="/loras",
    rankopt_data_dir=None, rankopt_database_url=None,
)  # fmt: skip
opts = Options()
prompt_styles = Styles()
state = State()
total_tqdm = SimpleNamespace(clear=lambda: None)
device = torch.device("cpu")
sd_model = SimpleNamespace(latent_channels=4, is_sdxl=False, is_sd2=False, parameterization="eps", place="device")
