"""Parameters as text, and handing them from tab to tab."""

import json
import re
from types import SimpleNamespace

paste_fields = {}
registered_param_bindings = []


class ParamBinding(SimpleNamespace):
    """A button, where it sends to, and what."""


def add_paste_fields(tabname, init_img, fields):
    paste_fields[tabname] = {"init_img": init_img, "fields": fields}


def register_paste_params_button(binding):
    registered_param_bindings.append(binding)


def parse_generation_parameters(text):
    prompt, _, line = text.rpartition("\n")
    found = dict(re.findall(r"(\w[\w \-/]+): ([^,]+)", line))
    if "Size" in found:
        found["Size-1"], found["Size-2"] = found["Size"].split("x")
    return {"Prompt": prompt, **found}


def quote(text):
    return json.dumps(text) if re.search("[,:\\n]", str(text)) else text
