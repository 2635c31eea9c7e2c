"""WGAN: a critic that estimates the Wasserstein distance, kept Lipschitz by clipping or by a gradient penalty.

Martin Arjovsky, Soumith Chintala and Léon Bottou, Wasserstein GAN, 2017, https://arxiv.org/abs/1701.07875, and with
`gradient_penalty` Ishaan Gulrajani et al., Improved Training of Wasserstein GANs, 2017,
https://arxiv.org/abs/1704.00028. The networks are DCGAN's; on points instead of images they are the GAN's.
"""

from bisect import bisect_right

import torch
from torch import Tensor, nn

from gancli.gan import losses
from gancli.gan.adversarial import Batch, FromNoise, Player, Terms
from gancli.models.dcgan import model as dcgan
from gancli.models.gan import model as gan
from gancli.models.wgan.recipe import Recipe

Generator = dcgan.Generator
Discriminator = dcgan.Discriminator


class Model(FromNoise):
    """Generator and critic of WGAN."""

    recipe: Recipe

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape, classes = tuple(recipe.data.shape), len(self.classes)
        self.generator: nn.Module
        self.discriminator: nn.Module
        if len(shape) == 1:
            self.generator = gan.Generator(recipe.latent_dim, recipe.hidden, shape, classes)
            self.discriminator = gan.Discriminator(shape, recipe.hidden, classes=classes)
        else:
            self.generator = Generator(recipe.latent_dim, recipe.width, shape, classes, recipe.grid)
            self.discriminator = Discriminator(shape, recipe.width, recipe.discriminator_norm, classes, recipe.grid)

    def generator_turns(self, steps: int) -> int:
        """Turns of the generator in the first so many steps, the warm-up's long ones counted."""
        return bisect_right(range(1, steps // self.recipe.critic_steps + 1), steps, key=self._steps_for)

    def _steps_for(self, turns: int) -> int:
        """Steps that so many turns of the generator (from 1) take: those of the first 25, and the first of each 500
        turns after, are long, as in the authors' code."""
        long = min(turns, 25) + (turns - 1) // 500
        usual = self.recipe.critic_steps
        return turns * usual + long * ((self.recipe.warm_up or usual) - usual)

    def optimizer(self, player: Player) -> torch.optim.Optimizer:
        """RMSprop with clipping, for a critic whose weights are held back makes momentum unstable; else Adam."""
        if self.recipe.gradient_penalty:
            return super().optimizer(player)
        return torch.optim.RMSprop(getattr(self, player).parameters(), self.recipe.learning_rate, foreach=True)

    def discriminator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """The negated estimate of the Wasserstein distance in its two terms, and the penalty."""
        recipe, images, labels = self.recipe, batch["image"], self.told(batch)
        if not recipe.gradient_penalty:
            self._clip()
        terms = losses.discriminator("wasserstein", self.judge(images, labels), self.judge(fakes, labels))
        self.watch(wasserstein=losses.wasserstein(**terms))
        if recipe.gradient_penalty:
            share = torch.rand(len(images), device=self.device)
            penalty = losses.gradient_penalty(lambda x: self.judge(x, labels), images, fakes, share)
            terms["penalty"] = recipe.gradient_penalty * penalty
        return terms

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """The generator's side of the distance."""
        return {"gan": losses.generator("wasserstein", self.judge(fakes, self.told(batch)))}

    @torch.no_grad()
    def _clip(self) -> None:
        for parameter in self.discriminator.parameters():
            parameter.clamp_(-self.recipe.clip, self.recipe.clip)
