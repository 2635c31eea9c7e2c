"""What Lightning and the run's bookkeeping cost: gan-mnist in a bare loop and in the Trainer, interleaved.

    python benchmarks/lightning.py path/to/mnist --steps 300 --rounds 7

Networks, losses, batches, seeds, optimizers, penalty and average are the same; the bare loop neither logs nor checks
for numbers that are not finite. Prints steps a second of each round, and the median of the rounds' ratios.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from gancli import models
from gancli.data.batches import Batches
from gancli.data.dataset import Dataset, load
from gancli.data.prepare import prepare
from gancli.gan import losses
from gancli.recipe import catalogue, reading
from gancli.recipe.sections import Recipe
from gancli.training import surroundings
from gancli.training import train as training
from gancli.training.trainable import Trainable


def in_lightning(settings: Recipe, dataset: Dataset, steps: int) -> float:
    """Steps a second of the Trainer."""
    model = training.build(settings)
    marks: list[float] = []

    class Clock(Callback):
        def on_train_start(self, *_: Any) -> None:
            marks.append(time.perf_counter())

        def on_train_end(self, *_: Any) -> None:
            marks.append(time.perf_counter())

    trainer = Trainer(
        max_epochs=1,
        callbacks=[Clock()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(Trainable(model), Batches(dataset, settings.train.batch_size, settings.train.seed, 0, steps))
    return steps / (marks[1] - marks[0])


def bare(settings: Any, dataset: Dataset, steps: int) -> float:
    """Steps a second of a loop without Lightning."""
    model: Any = training.build(settings)
    generator, discriminator, average = model.generator, model.discriminator, model.average
    learned = [[*player.parameters()] for player in (discriminator, generator)]
    optimizers = model.optimizer("discriminator"), model.optimizer("generator")
    since = time.perf_counter()
    for step, batch in enumerate(Batches(dataset, settings.train.batch_size, settings.train.seed, 0, steps)):
        torch.default_generator.manual_seed(step)
        real = prepare(batch, settings.data, training=True)["image"]
        fake = generator(torch.randn(len(real), settings.latent_dim))

        terms = losses.discriminator(settings.loss, discriminator(real), discriminator(fake.detach()))
        if settings.r1 and step % settings.penalty_every == 0:
            terms["r1"] = settings.r1 * settings.penalty_every * losses.zero_centred_penalty(discriminator, real)
        optimizers[0].zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizers[0].step()

        discriminator.requires_grad_(False)
        optimizers[1].zero_grad()
        losses.generator(settings.loss, discriminator(fake)).backward()
        optimizers[1].step()
        discriminator.requires_grad_(True)

        torch._foreach_lerp_([*average.parameters()], [p.detach() for p in learned[1]], 1 - settings.train.ema)
        for ours, theirs in zip(average.buffers(), generator.buffers(), strict=True):
            ours.copy_(theirs)
    return steps / (time.perf_counter() - since)


def main() -> None:
    """Interleave the two and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", help="the folder of MNIST's idx files")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    sets = [f"data.source={arguments.mnist}", "train.precision=float32"]
    settings = models.validate(reading.read(catalogue.find("gan-mnist"), sets))
    dataset = load(settings.data)
    surroundings.quieten()
    in_lightning(settings, dataset, 20), bare(settings, dataset, 20)

    ratios = []
    for _ in range(arguments.rounds):
        ours, plain = in_lightning(settings, dataset, arguments.steps), bare(settings, dataset, arguments.steps)
        ratios.append(ours / plain)
        print(f"Lightning {ours:6.1f} steps/s   bare {plain:6.1f} steps/s   ratio {ours / plain:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
