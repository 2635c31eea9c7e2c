"""What every GAN does: two players taking turns, seeded by position, averaged and watched; a family adds its losses."""

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from gancli import weights
from gancli.data.prepare import prepare
from gancli.errors import UserError
from gancli.gan import finite, losses, state
from gancli.gan.augment import augment
from gancli.gan.finite import Diverged
from gancli.gan.watched import Watched
from gancli.recipe.sections import Recipe, RecipeFromNoise

if TYPE_CHECKING:
    from gancli.gan.image_to_image import FromImages

Batch = dict[str, Tensor]
Terms = dict[str, Tensor]
Player = Literal["generator", "discriminator"]

PLAYERS: tuple[Player, Player] = ("discriminator", "generator")


def position_seed(*position: int | str) -> int:
    """A 32-bit seed that is a function of the position alone: neighbours get unrelated streams of random numbers."""
    return int.from_bytes(hashlib.blake2b(repr(position).encode(), digest_size=4).digest())


class Adversarial(nn.Module, ABC):
    """The base of every family's `Model`, which sets `generator` and `discriminator` (each may hold several networks).

    It is a plain module, so that a model samples and is scored without Lightning; `trainable.Trainable` lets Lightning
    train it.

    One `training_step` is one step: a batch of reals, a turn of the discriminator, and a turn of the generator where
    `generator_plays`. All randomness of a step comes from torch's global generator, seeded by (seed, step), and what a
    family keeps from step to step (a pool of images, say) is a registered buffer: with the state of `state()`, nothing
    else is needed to continue exactly.
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_first = False
    """Whether the generator's turn comes before the discriminator's."""
    referenced = False
    """Whether its batches hold references beside the images, and all domains alike: see `Batches`."""
    asks_discriminator = False
    """Whether a trained model asks the discriminator too, so that it is read from the run's checkpoint."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.step = 0
        self.average: nn.Module | None = None
        self._batch: Batch = {}
        self._watched = Watched()
        self._owned: dict[Player, list[nn.Parameter]] = {}
        self._optimizers: dict[Player, torch.optim.Optimizer] = {}
        self._doubt: Tensor | float = 0.0

    @property
    def targets(self) -> tuple[str, ...]:
        """What an image can be turned into, by name; nothing, where images are made from noise."""
        return ()

    def maker(self) -> "FromNoise":
        """This model as one that makes images from noise.

        Raises:
            UserError: it translates images.
        """
        raise UserError(f"{self.recipe.model}: translates images, and makes none from noise: give it images")

    def translator(self) -> "FromImages":
        """This model as one that translates images.

        Raises:
            UserError: it makes images from noise.
        """
        raise UserError(f"{self.recipe.model}: makes images from noise, and translates none")

    @property
    def device(self) -> torch.device:
        """Where the generator's weights are."""
        return next(self.generator.parameters()).device

    @abstractmethod
    def generate(self, batch: Batch) -> Any:
        """The fakes for this batch: a tensor, or a structure of tensors."""

    @abstractmethod
    def discriminator_loss(self, batch: Batch, fakes: Any) -> Terms:
        """The discriminator's named terms, whose sum it minimises; the fakes arrive detached."""

    @abstractmethod
    def generator_loss(self, batch: Batch, fakes: Any) -> Terms:
        """The generator's named terms, whose sum it minimises; the discriminator arrives frozen."""

    def generator_turns(self, steps: int) -> int:
        """Turns of the generator in the first so many steps, a function of them alone: one in every `critic_steps`."""
        return steps // self.recipe.critic_steps

    def generator_plays(self) -> bool:
        """Whether the generator has a turn in this step."""
        return self.generator_turns(self.step + 1) > self.generator_turns(self.step)

    def optimizer(self, player: Player) -> torch.optim.Optimizer:
        """The optimizer of a player, over its parameters."""
        parameters = getattr(self, player).parameters()
        return torch.optim.Adam(parameters, self.recipe.learning_rate, self.recipe.betas, fused=True)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Begin to train: the optimizers, in the order of PLAYERS."""
        self._owned = {player: list(getattr(self, player).parameters()) for player in PLAYERS}
        self._optimizers = {player: self.optimizer(player) for player in PLAYERS}
        return list(self._optimizers.values())

    def configure_model(self) -> None:
        """Begin the average, once the family has set its generator."""
        if self.recipe.train.ema is not None and self.average is None:
            self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()

    def training_step(self, batch: Batch) -> None:
        """One step, after `configure_optimizers`."""
        _seed(self.device, position_seed(self.recipe.train.seed, self.step))
        batch = prepare(batch, self.recipe.data, training=True)
        self._batch = batch
        plays = self.generator_plays()

        # The fakes are generated once for both turns, with gradients only if the generator will ask for them.
        with torch.set_grad_enabled(plays):
            fakes = self.generate(batch)
        if plays and self.generator_first:
            self._generator_turn(batch, fakes)
        self._turn("discriminator", self.discriminator_loss(batch, tree_map_only(Tensor, Tensor.detach, fakes)))
        if plays and not self.generator_first:
            self._generator_turn(batch, fakes)
        self.step += 1

    def _generator_turn(self, batch: Batch, fakes: Any) -> None:
        with frozen(self._owned["discriminator"]):
            self._turn("generator", self.generator_loss(batch, fakes))
        if self.average is not None:
            self._update_average(self.average)

    def _turn(self, player: Player, terms: Terms) -> None:
        optimizer = self._optimizers[player]
        self._schedule(optimizer)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        doubtful = self._check(player, terms)
        optimizer.step()
        if doubtful:
            self._name_culprit(self.step + 1, player, terms)
        self.watch(**{f"{player}_{name}": term for name, term in terms.items()})

    def _schedule(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the learning rates fall linearly to 0 over the last `decay_steps`."""
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * self._rate(self.step)

    def _rate(self, step: int) -> float:
        """The share of the learning rates that a step has: a function of its number and the recipe alone.

        A decay that is longer than the training lasts as long as the training.
        """
        train = self.recipe.train
        decay = min(train.decay_steps, train.steps)
        return min(1.0, (train.steps - step) / decay) if decay else 1.0

    def _check(self, player: Player, terms: Terms) -> bool:
        """Stop before a number that is not finite reaches the weights: one Adam step would keep it there for good.

        A sum is finite only if everything in it is, and costs one pass; only if it is not, the culprit is looked for.
        Gradients are squared first, because optimizers average their squares, which overflow long before them.

        Returns:
            Whether a sum was not finite although all numbers are, so that the optimizer's may not be after its step.
        """
        owned = self._owned[player]
        gradients = [parameter.grad for parameter in owned if parameter.grad is not None]
        sums = [t.detach().sum(dtype=torch.float32) for t in (*terms.values(), *owned, *_floats(self._batch).values())]
        total = torch.stack([*sums, *torch._foreach_norm(gradients)]).sum()
        if self._asynchronous:
            self._doubt = self._doubt + total * 0  # once not finite, it stays so
        elif not math.isfinite(total.item()):
            self._name_culprit(self.step + 1, player, terms)
            return True
        return False

    @property
    def _asynchronous(self) -> bool:
        """Whether the device works on while its orders are given: to look at a number is then to wait for it."""
        return self.device.type == "cuda"

    def check(self) -> None:
        """Stop if a number was not finite since the last call, where looking in every turn would cost too much.

        Called before anything is written. Until then weights may be lost in memory, but never in a file.

        Raises:
            Diverged: one was.
        """
        if isinstance(self._doubt, Tensor) and not math.isfinite(self._doubt.item()):
            for player in PLAYERS:
                self._name_culprit(self.step, player, {})
            raise Diverged(self.step, "a sum of losses, weights or squared gradients")
        self._doubt = 0.0

    def _name_culprit(self, step: int, player: Player, terms: Terms) -> None:
        """Stop if a number is not finite, and say which, causes before their effects."""
        finite.check(step, *(finite.Part(f"the {p}'s weight", getattr(self, p).named_parameters()) for p in PLAYERS))
        named = dict(getattr(self, player).named_parameters())
        kept = self._optimizers[player].state
        finite.check(
            step,
            finite.Part("the input", self._batch.items()),
            finite.Part(f"the {player}'s loss term", terms.items()),
            finite.Part(f"the {player}'s gradient of", ((n, p.grad) for n, p in named.items() if p.grad is not None)),
            finite.Part(f"the {player}'s mean of squared gradients of", finite.squares(named, kept)),
        )

    def _update_average(self, average: nn.Module) -> None:
        # The decay grows to its value over the first turns, so that the initial weights are soon forgotten.
        turns = self.generator_turns(self.step + 1)
        decay = min(cast(float, self.recipe.train.ema), (1 + turns) / (10 + turns))

        # BatchNorm's statistics are averaged as weights are: those of the generator itself are of other weights.
        ours = list[Tensor](average.parameters())
        theirs = [parameter.detach() for parameter in self._owned["generator"]]
        for mine, its in zip(average.buffers(), self.generator.buffers(), strict=True):
            if mine.is_floating_point():
                ours.append(mine)
                theirs.append(its)
            else:
                mine.copy_(its)
        torch._foreach_lerp_(ours, theirs, 1 - decay)

    def watch(self, **observations: Tensor) -> None:
        """Note tensors of any shape under their names; `observed` averages them over the interval."""
        for name, tensor in observations.items():
            self._watched.add(name, tensor)

    def watch_logits(self, real: Tensor, fake: Tensor) -> None:
        """Watch D(x), D(G(z)) and how often the discriminator is right about each, from its logits."""
        self.watch_probabilities(real.sigmoid(), fake.sigmoid())

    def watch_probabilities(self, real: Tensor, fake: Tensor) -> None:
        """Watch what the discriminator makes of the chance that a real or a fake is real, and how often it is right."""
        self.watch(d_real=real, d_fake=fake, accuracy_real=real > 0.5, accuracy_fake=fake <= 0.5)

    def means(self) -> dict[str, float]:
        """The mean of everything watched since the last call, by name."""
        return self._watched.take()

    def observed(self) -> dict[str, float]:
        """The means of what was watched, and the learning rates of the last step, whoever had a turn in it.

        Raises:
            Diverged: a number was not finite.
        """
        self.check()
        means = self.means()
        if (name := next((name for name, mean in means.items() if not math.isfinite(mean)), None)) is not None:
            raise Diverged(self.step, f"the mean of '{name}'")
        rates = {}
        for player, optimizer in self._optimizers.items():
            group = optimizer.param_groups[0]
            rates[f"learning_rate_{player}"] = group.get("initial_lr", group["lr"]) * self._rate(self.step - 1)
        return means | rates

    @abstractmethod
    def sheet(self) -> tuple[Tensor, int]:
        """The pictures that show how the training stands, N×C×H×W in [-1, 1], and how many make a row."""

    @property
    def sampler(self) -> nn.Module:
        """The generator that is sampled and scored: the average where there is one."""
        return self.generator if self.average is None else self.average

    def state(self) -> dict[str, Tensor]:
        """All that an exact resume needs beside the number of the step.

        Raises:
            Diverged: a number in it is not finite, or one was on the way there.
        """
        self.check()
        learned = state.collect(self, self._optimizers)
        watched = {f"watched.{name}": tensor for name, tensor in self._watched.state().items()}
        if (name := weights.not_finite(learned | watched)) is not None:
            raise Diverged(self.step, f"'{name}'")
        return learned | watched

    def load_state(self, saved: Mapping[str, Tensor], step: int) -> None:
        """Continue from `state()` as it was after `step` steps.

        The optimizers must exist, so call it when the fit has begun.

        Raises:
            ValueError: it is the state of another model.
        """
        watched = {name: tensor for name, tensor in saved.items() if name.startswith("watched.")}
        learned = {name: tensor for name, tensor in saved.items() if name not in watched}
        self._watched.restore({name.removeprefix("watched."): t for name, t in watched.items()}, self.device)
        state.restore(learned, self, self._optimizers)
        self.step = step


class FromNoise(Adversarial):
    """A family whose generator takes noise, N×latent_dim from the recipe's distribution, and labels where conditional.

    Its players take the classes, int64 N or None, as their second argument.
    """

    recipe: RecipeFromNoise

    def maker(self) -> "FromNoise":
        """This model."""
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that the players are given; empty where the model is not conditional."""
        return cast(Any, self.recipe.data).classes if self.recipe.conditional else ()

    def generate(self, batch: Batch) -> Tensor:
        """As many fakes as the batch has reals, of the same classes."""
        shape = (len(batch["image"]), self.recipe.latent_dim)
        if self.recipe.noise == "uniform":
            noise = torch.rand(shape, device=self.device) * 2 - 1
        else:
            noise = torch.randn(shape, device=self.device)
        return cast(Tensor, self.generator(noise, self.told(batch)))

    def told(self, batch: Batch) -> Tensor | None:
        """The labels of a batch as the players are given them; None where the model is not conditional."""
        return batch["label"] if self.recipe.conditional else None

    def judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The discriminator's outputs on images, N; it sees them augmented."""
        return cast(Tensor, self.discriminator(augment(images, self.recipe.augment), labels))

    def penalties(self, every: int, labels: Tensor | None, **weighed: tuple[float, Tensor]) -> Terms:
        """Zero-centred penalties on the discriminator's gradient, in every n-th step; none in the others.

        Each then weighs n times as much, so that the sum over time stays the same.

        Args:
            every: steps between penalties.
            labels: the classes of the images, int64 N, where the model is conditional.
            weighed: by name, the weight (0 leaves the penalty out) and the images, N×C×H×W.
        """
        if self.step % every:
            return {}
        return {
            name: weight * every * losses.zero_centred_penalty(lambda x: self.judge(x, labels), images)
            for name, (weight, images) in weighed.items()
            if weight
        }

    def sheet(self) -> tuple[Tensor, int]:
        """The samples of seeds 0 to 63; where there are classes, of seeds 0 to 7 in each of the first 16."""
        seeds = [self.latent(seed) for seed in range(8 if self.classes else 64)]
        rows = len(self.classes[:16]) or 1
        labels = [row for row in range(rows) for _ in seeds] if self.classes else None
        return torch.cat(list(self.sample(seeds * rows, labels))), 8

    def latent(self, seed: int) -> Tensor:
        """The noise of one sample, a function of its seed alone, the same on every device."""
        generator = torch.Generator().manual_seed(position_seed("sample", seed))
        shape = (self.recipe.latent_dim,)
        if self.recipe.noise == "uniform":
            return torch.rand(shape, generator=generator) * 2 - 1
        return torch.randn(shape, generator=generator)

    def label(self, seed: int) -> int:
        """The class of a sample of which only the seed is given: all classes take turns."""
        return seed % max(1, len(self.classes))

    def sample(self, latents: Sequence[Tensor], labels: Sequence[int] | None = None) -> Iterator[Tensor]:
        """The images of some latents, in order, in batches in [-1, 1] on the CPU.

        A batch has 64 images, or as many fewer as keep it to the memory of 64 of 128×128: a number that the recipe
        alone decides, not the machine.

        Every batch is filled up to the same size: a matrix product may round differently for another number of rows,
        and sample i must not depend on how many others are asked for.

        Args:
            latents: what `latent` gave for each.
            labels: the class of each, where the model is conditional; by default the classes take turns.
        """
        if labels is None:
            labels = [self.label(place) for place in range(len(latents))]
        size = max(1, min(64, 64 * 128**2 // math.prod(self.recipe.data.shape[1:])))
        with evaluating(self.sampler) as generator, torch.inference_mode():
            for start in range(0, len(latents), size):
                rows = torch.stack(list(latents[start : start + size]))
                spare = size - len(rows)
                full = torch.cat([rows, rows.new_zeros(spare, *rows.shape[1:])]).to(self.device)
                told = torch.tensor([*labels[start : start + size], *[0] * spare], device=self.device)
                made = generator(full, told if self.classes else None)
                yield made[: len(rows)].float().cpu()


def _floats(batch: Batch) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in batch.items() if tensor.is_floating_point()}


def _seed(device: torch.device, seed: int) -> None:
    """Seed the global generators that a step draws from.

    `torch.manual_seed` would do, but where CUDA is not in use it queues a call for it, with a traceback, at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Compute no gradients of these parameters."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in evaluation mode, and back in the mode it was in."""
    training = network.training
    try:
        yield network.eval()
    finally:
        network.train(training)
