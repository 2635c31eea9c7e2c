"""What widely used training scripts do, written plainly: the yardstick of `benchmarks/speed.py`.

float32, channels first, PyTorch's own Adam, fakes detached for the discriminator, gradients of the discriminator that
nobody uses in the generator's turn, a loss read with `.item()` at every step, images decoded each epoch. The networks
are those of the papers, as gancli has them; nothing of gancli is used here.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

Step = Callable[..., dict[str, float]]


def dcgan_generator(width: int, doublings: int = 4, latent: int = 100) -> nn.Sequential:
    """100 numbers to 3 channels of 4·2^doublings pixels."""
    widths = [width * min(2**level, 8) for level in reversed(range(doublings))]
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False)]
    for before, after in pairwise(widths):
        layers += [nn.BatchNorm2d(before), nn.ReLU(True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    last = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False)
    return nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]), nn.ReLU(True), last, nn.Tanh())


def dcgan_discriminator(width: int, halvings: int = 4) -> nn.Sequential:
    """3 channels of 4·2^halvings pixels to a logit."""
    widths = [width * min(2**level, 8) for level in range(halvings)]
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, bias=False), nn.Flatten(0))


def gan_generator(pixels: int) -> nn.Sequential:
    """100 numbers to that many pixels, by way of 128, 256, 512 and 1,024."""
    layers: list[nn.Module] = [nn.Linear(100, 128), nn.LeakyReLU(0.2, True)]
    for before, after in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Linear(1024, pixels), nn.Tanh())


def gan_discriminator(pixels: int) -> nn.Sequential:
    """That many pixels to a logit."""
    first, second = nn.Linear(pixels, 512), nn.Linear(512, 256)
    leaks = nn.LeakyReLU(0.2, True), nn.LeakyReLU(0.2, True)
    return nn.Sequential(nn.Flatten(), first, leaks[0], second, leaks[1], nn.Linear(256, 1), nn.Flatten(0))


def noise_step(generator: nn.Module, discriminator: nn.Module, latent: tuple[int, ...], rate: float = 2e-4) -> Step:
    """A step of a GAN that starts from noise: BCE, Adam."""
    d_adam = torch.optim.Adam(discriminator.parameters(), rate, (0.5, 0.999))
    g_adam = torch.optim.Adam(generator.parameters(), rate, (0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()

    def step(images: Tensor) -> dict[str, float]:
        ones, zeros = torch.ones(len(images), device=images.device), torch.zeros(len(images), device=images.device)
        d_adam.zero_grad()
        d_real = bce(discriminator(images), ones)
        d_real.backward()
        fakes = generator(torch.randn(len(images), *latent, device=images.device))
        d_fake = bce(discriminator(fakes.detach()), zeros)
        d_fake.backward()
        d_adam.step()

        g_adam.zero_grad()
        g_loss = bce(discriminator(fakes), ones)
        g_loss.backward()
        g_adam.step()
        return {"d": d_real.item() + d_fake.item(), "g": g_loss.item()}

    return step


class UNet(nn.Module):
    """A level of Pix2Pix's generator around the next deeper one."""

    def __init__(
        self, outer: int, inner: int, inside: "UNet | None", channels: int | None = None, drop: bool = False
    ) -> None:
        super().__init__()
        down = nn.Conv2d(channels or outer, inner, 4, 2, 1, bias=False)
        up = nn.ConvTranspose2d(inner * (2 if inside else 1), channels or outer, 4, 2, 1, bias=channels is not None)
        self.outermost = channels is not None
        if channels is not None:
            layers = [down, inside, nn.ReLU(True), up, nn.Tanh()]
        elif inside is None:
            layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, nn.BatchNorm2d(outer)]
        else:
            norms = nn.BatchNorm2d(inner), nn.BatchNorm2d(outer)
            layers = [nn.LeakyReLU(0.2, True), down, norms[0], inside, nn.ReLU(True), up, norms[1]]
            layers += [nn.Dropout(0.5)] if drop else []
        self.layers = nn.Sequential(*[layer for layer in layers if layer is not None])

    def forward(self, images: Tensor) -> Tensor:
        """The images, or the features with what became of them."""
        made: Tensor = self.layers(images)
        return made if self.outermost else torch.cat([images, made], 1)


def unet(width: int = 64) -> nn.Module:
    """The U-Net of 256 pixels."""
    inside = UNet(8 * width, 8 * width, None)
    for _ in range(3):
        inside = UNet(8 * width, 8 * width, inside, drop=True)
    for outer in (4, 2, 1):
        inside = UNet(outer * width, 2 * outer * width, inside)
    return UNet(width, width, inside, channels=3)


def patch_discriminator(channels: int, norm: type[nn.Module], width: int = 64) -> nn.Sequential:
    """The 70×70 PatchGAN."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
        layers += [
            nn.Conv2d(before * width, after * width, 4, stride, 1, bias=norm is nn.InstanceNorm2d),
            norm(after * width),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


def pix2pix_step() -> Step:
    """A step of Pix2Pix: BCE on patches, 100 times L1."""
    generator, discriminator = unet(), patch_discriminator(6, nn.BatchNorm2d)
    d_adam = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999))
    g_adam = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()

    def step(a: Tensor, b: Tensor) -> dict[str, float]:
        fakes = generator(a)
        d_adam.zero_grad()
        fake = discriminator(torch.cat([a, fakes.detach()], 1))
        real = discriminator(torch.cat([a, b], 1))
        d_loss = (bce(fake, torch.zeros_like(fake)) + bce(real, torch.ones_like(real))) / 2
        d_loss.backward()
        d_adam.step()

        g_adam.zero_grad()
        judged = discriminator(torch.cat([a, fakes], 1))
        g_loss = bce(judged, torch.ones_like(judged)) + 100 * functional.l1_loss(fakes, b)
        g_loss.backward()
        g_adam.step()
        return {"d": d_loss.item(), "g": g_loss.item()}

    return step


class Residual(nn.Module):
    """Features and what its layers make of them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """The sum."""
        return features + self.layers(features)


def cyclegan_generator(blocks: int = 9, width: int = 64) -> nn.Sequential:
    """c7s1-64, d128, d256, residual blocks, u128, u64, c7s1-3."""

    def normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
        return [layer, nn.InstanceNorm2d(channels), nn.ReLU(True)]

    def residual(channels: int) -> Residual:
        first = [nn.ReflectionPad2d(1), *normalised(nn.Conv2d(channels, channels, 3), channels)]
        return Residual(*first, nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels))

    layers = [nn.ReflectionPad2d(3), *normalised(nn.Conv2d(3, width, 7), width)]
    layers += normalised(nn.Conv2d(width, 2 * width, 3, 2, 1), 2 * width)
    layers += normalised(nn.Conv2d(2 * width, 4 * width, 3, 2, 1), 4 * width)
    layers += [residual(4 * width) for _ in range(blocks)]
    layers += normalised(nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, 1), 2 * width)
    layers += normalised(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), width)
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def cyclegan_step(blocks: int = 9) -> Step:
    """A step of CycleGAN: least squares, cycles, identities, and the pools of 50 images."""
    to_a, to_b = cyclegan_generator(blocks), cyclegan_generator(blocks)
    d_a, d_b = (patch_discriminator(3, nn.InstanceNorm2d) for _ in "ab")
    d_adam = torch.optim.Adam([*d_a.parameters(), *d_b.parameters()], 2e-4, (0.5, 0.999))
    g_adam = torch.optim.Adam([*to_a.parameters(), *to_b.parameters()], 2e-4, (0.5, 0.999))
    mse, l1 = nn.MSELoss(), nn.L1Loss()
    pools: dict[nn.Module, list[Tensor]] = {d_a: [], d_b: []}

    def pooled(discriminator: nn.Module, fakes: Tensor) -> Tensor:
        pool = pools[discriminator]
        if len(pool) < 50:
            pool.append(fakes)
            return fakes
        if torch.rand(()) < 0.5:
            return fakes
        place = int(torch.randint(50, ()))
        fakes, pool[place] = pool[place], fakes
        return fakes

    def judged(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        on_real, on_fake = discriminator(real), discriminator(pooled(discriminator, fake.detach()))
        return (mse(on_real, torch.ones_like(on_real)) + mse(on_fake, torch.zeros_like(on_fake))) / 2

    def step(a: Tensor, b: Tensor) -> dict[str, float]:
        fake_b, fake_a = to_b(a), to_a(b)
        back_a, back_b = to_a(fake_b), to_b(fake_a)
        g_adam.zero_grad()
        on_b, on_a = d_b(fake_b), d_a(fake_a)
        g_loss = mse(on_b, torch.ones_like(on_b)) + mse(on_a, torch.ones_like(on_a))
        g_loss = g_loss + 10 * (l1(back_a, a) + l1(back_b, b)) + 5 * (l1(to_a(a), a) + l1(to_b(b), b))
        g_loss.backward()
        g_adam.step()

        d_adam.zero_grad()
        d_loss_a, d_loss_b = judged(d_a, a, fake_a), judged(d_b, b, fake_b)
        d_loss_a.backward()
        d_loss_b.backward()
        d_adam.step()
        return {"g": g_loss.item(), "d_a": d_loss_a.item(), "d_b": d_loss_b.item()}

    return step


def stargan_generator(domains: int, width: int = 64, blocks: int = 6) -> nn.Sequential:
    """Images beside planes of labels to images."""

    def normalised(channels: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(channels, affine=True, track_running_stats=True), nn.ReLU(True)]

    layers: list[nn.Module] = [nn.Conv2d(3 + domains, width, 7, 1, 3, bias=False), *normalised(width)]
    for inside in (width, 2 * width):
        layers += [nn.Conv2d(inside, 2 * inside, 4, 2, 1, bias=False), *normalised(2 * inside)]
    for _ in range(blocks):
        first, second = (nn.Conv2d(4 * width, 4 * width, 3, 1, 1, bias=False) for _ in range(2))
        layers.append(Residual(first, *normalised(4 * width), second, normalised(4 * width)[0]))
    for inside in (4 * width, 2 * width):
        layers += [nn.ConvTranspose2d(inside, inside // 2, 4, 2, 1, bias=False), *normalised(inside // 2)]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())


class StarDiscriminator(nn.Module):
    """Six strided convolutions and two heads."""

    def __init__(self, size: int, domains: int, width: int = 64) -> None:
        super().__init__()
        widths = [3, *(width * 2**level for level in range(6))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.01)]
        self.body = nn.Sequential(*layers)
        self.judge = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.classify = nn.Conv2d(widths[-1], domains, size // 64, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs on patches, logits of domains."""
        features = self.body(images)
        return self.judge(features), self.classify(features).flatten(1)


def stargan_step(size: int = 128, domains: int = 4) -> Step:
    """A step of StarGAN: WGAN-GP and classification; the generator on every fifth."""
    generator, discriminator = stargan_generator(domains), StarDiscriminator(size, domains)
    d_adam = torch.optim.Adam(discriminator.parameters(), 1e-4, (0.5, 0.999))
    g_adam = torch.optim.Adam(generator.parameters(), 1e-4, (0.5, 0.999))
    count = 0

    def told(images: Tensor, labels: Tensor) -> Tensor:
        planes = functional.one_hot(labels, domains).float()[:, :, None, None]
        return torch.cat([images, planes.repeat(1, 1, *images.shape[2:])], 1)

    def step(images: Tensor, labels: Tensor) -> dict[str, float]:
        nonlocal count
        targets = labels[torch.randperm(len(labels), device=labels.device)]
        real, logits = discriminator(images)
        fakes = generator(told(images, targets))
        fake, _ = discriminator(fakes.detach())
        share = torch.rand(len(images), 1, 1, 1, device=images.device)
        between = (share * images + (1 - share) * fakes.detach()).requires_grad_(True)
        on_between, _ = discriminator(between)
        slopes = torch.autograd.grad(on_between, between, torch.ones_like(on_between), True, True)[0].flatten(1)
        penalty = ((slopes.square().sum(1).sqrt() - 1) ** 2).mean()
        d_loss = fake.mean() - real.mean() + functional.cross_entropy(logits, labels) + 10 * penalty
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()
        found = {"d": d_loss.item()}

        count += 1
        if count % 5 == 0:
            fakes = generator(told(images, targets))
            fake, logits = discriminator(fakes)
            back = generator(told(fakes, labels))
            g_loss = functional.cross_entropy(logits, targets) - fake.mean() + 10 * functional.l1_loss(back, images)
            g_adam.zero_grad()
            g_loss.backward()
            g_adam.step()
            found["g"] = g_loss.item()
        return found

    return step


class Files(Dataset[Tensor]):
    """Image files, decoded and transformed whenever it is their turn."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths = sorted(folder.iterdir())
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            small = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return normal(np.asarray(small))


class Digits(Dataset[Tensor]):
    """MNIST as scripts have it: an array in memory, from which each image becomes a picture and then a tensor."""

    def __init__(self, images: np.ndarray, size: int) -> None:
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.fromarray(self.images[index])
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return normal(np.asarray(image)[..., None])


def normal(pixels: np.ndarray) -> Tensor:
    """H×W×C of uint8 to C×H×W in [-1, 1], by way of [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float().div(255).sub(0.5).div(0.5)


def endless(dataset: Dataset[Tensor], batch_size: int, workers: int) -> Iterator[Tensor]:
    """Batches of epoch after epoch."""
    while True:
        yield from DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, drop_last=True)


def save_one_by_one(generator: nn.Module, count: int, folder: Path) -> None:
    """Sample and save an image at a time, as a loop over `save_image` does."""
    folder.mkdir(parents=True, exist_ok=True)
    device = next(generator.parameters()).device
    with torch.no_grad():
        for number in range(count):
            image = generator(torch.randn(1, 100, 1, 1, device=device))[0]
            pixels = image.mul(0.5).add(0.5).mul(255).add(0.5).clamp(0, 255).permute(1, 2, 0).to("cpu", torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / f"{number:06}.png")
