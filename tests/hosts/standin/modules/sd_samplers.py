"""Samplers."""

all_samplers_map = dict.fromkeys(("DPM++ 2M", "Euler a", "Euler", "DDIM", "DPM++ 2M SDE"))


def visible_sampler_names():
    return list(all_samplers_map)
