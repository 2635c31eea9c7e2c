"""What larger runs take on 1, 8 and 64 GPUs: a model of three numbers for each family, in one command.

    python benchmarks/scale.py --teraflops 400 --link 450 --network 50

A step costs its FLOPs, counted here in a few steps on this machine (a minute), at the rate that the GPU
reaches; with several GPUs it also costs the all-reduce of the gradients, 2 (n - 1) / n times their bytes over the
slowest link between two of them, as in a ring, and nothing of it hidden. Rates are what is reached, not what is
printed on the box: give your own. Lightning's DDP is assumed: every GPU holds all weights and works on its own images.
"""

import argparse
from typing import Any, NamedTuple

from speed import Clock, Flops, fit, noise, settings_of

from gancli.gan.adversarial import PLAYERS
from gancli.training import train as training


class Plan(NamedTuple):
    """A training: its recipe's values, images in all, and images of a batch on one GPU."""

    title: str
    values: dict[str, Any]
    images: int
    batch: int


PLANS = (
    Plan(
        "DCGAN 64 px, 25 epochs of LSUN bedrooms", {"model": "dcgan", "data": {"image_size": 64}}, 25 * 3_000_000, 128
    ),
    Plan("DCGAN 128 px, 100 epochs of ImageNet", {"model": "dcgan", "data": {"image_size": 128}}, 128_000_000, 128),
    Plan(
        "StarGAN 128 px, CelebA, the paper's steps", {"model": "stargan", "data": {"image_size": 128}}, 200_000 * 16, 16
    ),
    Plan("CycleGAN 256 px, the paper's steps", {"model": "cyclegan", "data": {"image_size": 256}}, 200 * 1_334, 1),
    Plan(
        "StarGAN v2 256 px, CelebA-HQ, the paper's iterations",
        {"model": "stargan2", "data": {"image_size": 256}},
        2 * 100_000 * 8,
        8,
    ),
)


def work(plan: Plan) -> tuple[float, float]:
    """FLOPs of an image in training and bytes of gradients of a step, the generator's turns in their share."""
    settings = settings_of(plan.values | {"train": {"batch_size": 2}})
    model, steps = training.build(settings), settings.critic_steps
    with Flops() as counter:
        fit(model, noise(settings, 8), steps, Clock(), "float32")
    size = {player: sum(p.nbytes for p in getattr(model, player).parameters()) for player in PLAYERS}
    return counter.total / (2 * steps), size["discriminator"] + size["generator"] / steps


def main() -> None:
    """Print hours for each plan and number of GPUs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teraflops", type=float, default=100, help="that one GPU reaches in these networks")
    parser.add_argument("--link", type=float, default=300, help="GB/s of all-reduce inside a machine of 8")
    parser.add_argument("--network", type=float, default=40, help="GB/s of all-reduce between machines")
    options = parser.parse_args()
    print("| training | GFLOPs an image | MB of gradients a step | 1 GPU, h | 8 | 64 |\n|---|---|---|---|---|---|")
    for plan in PLANS:
        flops, size = work(plan)
        hours = []
        for count in (1, 8, 64):
            rate = options.link if count <= 8 else options.network
            talk = 2 * (count - 1) / count * size / (rate * 1e9)
            step = plan.batch * flops / (options.teraflops * 1e12) + talk
            hours.append(plan.images / (plan.batch * count) * step / 3600)
        cells = " | ".join(f"{value:,.2f}" for value in hours)
        print(f"| {plan.title} | {flops / 1e9:,.1f} | {size / 1e6:,.0f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
