"""Scripts and their hooks."""

from types import SimpleNamespace

AlwaysVisible = object()


class Script:
    """Base of scripts."""

    filename = "script.py"
    args_from = args_to = 1
    is_img2img = False


class PostSampleArgs(SimpleNamespace):
    """Carries samples."""


class PostprocessImageArgs(SimpleNamespace):
    """Carries an image."""


class ScriptRunner:
    """Calls the hooks of all scripts; prints and swallows what they raise, as the webui does."""

    def __init__(self):
        self.scripts = []
        self.swallowed = []

    def initialize_scripts(self, _is_img2img):
        pass

    def call(self, hook, p, *args, **kwargs):
        for script in self.scripts:
            values = p.script_args[script.args_from : script.args_to]
            try:
                if hasattr(script, hook):
                    getattr(script, hook)(p, *args, *values, **kwargs)
            except Exception as error:
                self.swallowed.append(error)


scripts_txt2img = ScriptRunner()
scripts_img2img = ScriptRunner()
