"""Options, state and the loaded model."""

from types import SimpleNamespace

from modules import paths


class OptionInfo:
    """One setting."""

    def __init__(self, default, label="", section=None):
        self.default, self.label, self.section = default, label, section

    def info(self, _text):
        return self

    def needs_restart(self):
        return self


class Options:
    """Settings by name."""

    def __init__(self):
        self.data = {"CLIP_stop_at_last_layers": 1}
        self.outdir_samples = self.outdir_grids = ""
        self.outdir_txt2img_samples = self.outdir_txt2img_grids = paths.data_path
        self.sd_model_checkpoint = "model.safetensors"

    def add_option(self, key, info):
        self.data.setdefault(key, info.default)


class State:
    """The job under way, and what the person has pressed."""

    def __init__(self):
        self.interrupted = self.skipped = self.stopping_generation = False
        self.job = ""
        self.job_count = -1
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
state = State()
total_tqdm = SimpleNamespace(clear=lambda: None)
device = "cpu"
sd_model = SimpleNamespace(latent_channels=4, is_sdxl=False, is_sd2=False, parameterization="eps")
