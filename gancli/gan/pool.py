"""A pool of earlier fakes."""

import torch
from torch import Tensor, nn


class Pool(nn.Module):
    """The last translations, half of which the discriminator is shown instead of new ones.

    Ashish Shrivastava et al., Learning from Simulated and Unsupervised Images through Adversarial Training, 2016,
    arXiv:1612.07828, section 2.3, as CycleGAN's authors do it, image by image.
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, fakes: Tensor) -> Tensor:
        """N×C×H×W to the same: new ones until the pool is full; then every other one is swapped for one in it."""
        size, count = len(self.images), int(self.count)
        swapped = torch.rand(len(fakes)) < 0.5
        places = torch.randint(max(1, size), (len(fakes),))
        shown = []
        for fake, swap, place in zip(fakes, swapped.tolist(), places.tolist(), strict=True):
            if count < size:
                self.images[count] = fake
                count += 1
            elif size and swap:
                shown.append(self.images[place].to(fake, copy=True))
                self.images[place] = fake
                continue
            shown.append(fake)
        self.count.fill_(count)
        return torch.stack(shown).contiguous(memory_format=torch.channels_last)
