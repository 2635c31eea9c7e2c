"""Trainable: a model as Lightning trains it."""

import torch
from pytorch_lightning import LightningModule

from gancli.gan.adversarial import Adversarial, Batch


class Trainable(LightningModule):
    """A model's optimizers and steps, which Lightning calls."""

    def __init__(self, model: Adversarial) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The model's optimizers."""
        return self.model.configure_optimizers()

    def training_step(self, batch: Batch, _: int) -> None:
        """One step of the model."""
        self.model.training_step(batch)
