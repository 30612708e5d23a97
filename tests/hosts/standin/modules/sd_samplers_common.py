"""What samplers share."""

import numpy as np
import torch
from PIL import Image


class InterruptedException(BaseException):
    """Ends sampling."""


def single_sample_to_image(sample, approximation=None):
    assert approximation in (1, 2, 3)
    values = ((sample[:3].float().clamp(-2, 2) + 2) * 63.75).to(torch.uint8)
    return Image.fromarray(np.moveaxis(values.numpy(), 0, 2))
