"""A network on another device is a copy in half precision; the CPU's stays as it was."""

from __future__ import annotations

import torch
from torch import nn

from lib_rankopt.scorers.network import Network

ELSEWHERE = torch.device("meta")  # stands for an accelerator: it has dtypes and shapes, and no memory


def test_the_cpus_weights_come_back_untouched() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = {name: one.clone() for name, one in module.state_dict().items()}
    network = Network(module)
    network.to(ELSEWHERE)
    there = network.module
    assert {one.device.type for one in there.state_dict().values()} == {"meta"}
    assert {one.dtype for one in there.parameters()} == {torch.float16}
    assert there[1].num_batches_tracked.dtype == torch.int64
    assert (network.device, network.dtype) == (ELSEWHERE, torch.float16)
    network.to(torch.device("cpu"))
    assert all(torch.equal(one, before[name]) for name, one in network.module.state_dict().items())
    assert (network.device.type, network.dtype) == ("cpu", torch.float32)
    assert not any(one.requires_grad for one in network.module.parameters())


def test_buffers_that_are_in_no_file_go_along() -> None:
    module = nn.Linear(2, 2)
    module.register_buffer("mask", torch.zeros(2, 2), persistent=False)
    network = Network(module)
    network.to(ELSEWHERE)
    assert (network.module.mask.device.type, network.module.mask.dtype) == ("meta", torch.float16)


def test_half_precision_files_are_asked_in_float32_on_the_cpu() -> None:
    assert {one.dtype for one in Network(nn.Linear(2, 2).half()).module.parameters()} == {torch.float32}
