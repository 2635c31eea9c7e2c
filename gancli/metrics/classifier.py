"""A small convolutional classifier, trained on the data's own labels: features for images far from photographs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from gancli import files
from gancli.errors import UserError
from gancli.metrics.features import Progress, ProtocolEntries, check_images

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer[Any]]

DIMENSIONS = 128
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 4e-3
LARGEST_EPOCHS, LARGEST_TRAINING_IMAGES = 30, 120_000
"""A small set is read at most 30 times, a large one until 120,000 images were seen, but each image at least once."""
HELD_OUT = 0.1
"""The share of the images that is kept from training to measure the accuracy on, where no test split is given."""
FORMAT = "gancli classifier 1"
CONSTANTS = (FORMAT, DIMENSIONS, BATCH_SIZE, PEAK_LEARNING_RATE, LARGEST_EPOCHS, LARGEST_TRAINING_IMAGES, HELD_OUT)
"""With the data and the seed, all that the weights depend on."""


class Network(nn.Module):
    """A 3×3 convolution, then convolutions of stride 2 and doubling width down to at most 4×4, a mean, a linear head.

    Args:
        channels: of the images, 1 or 3.
        side: the longer side of the images, in pixels.
        classes: how many.
    """

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        width = 16
        layers = _block(channels, width)
        while side > 4:
            wider = min(2 * width, DIMENSIONS)
            layers += _block(width, wider, stride=2)
            width, side = wider, (side + 1) // 2
        self.body = nn.Sequential(*layers, *_block(width, DIMENSIONS))
        self.head = nn.Linear(DIMENSIONS, classes)

    def features(self, images: Tensor) -> Tensor:
        """uint8 N×C×H×W to float32 N×128, none negative."""
        maps: Tensor = self.body((images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        return maps.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 N×C×H×W to the class scores before the softmax, float32 N×classes."""
        scores: Tensor = self.head(self.features(images))
        return scores


class Classifier:
    """A trained classifier as a feature network: its features are what its linear head reads.

    Args:
        network: trained.
        shape: H, W, C of the images it was trained on; it takes no others.
        accuracy: on images that it did not see, 0..1.
        tested: how many those were.
        data: SHA-256 of the images and labels it was trained on.
    """

    name = "classifier"
    dimensions = DIMENSIONS

    def __init__(self, network: Network, shape: tuple[int, int, int], accuracy: float, tested: int, data: str) -> None:
        self.network = _channels_last(network).eval().requires_grad_(False)
        self.shape, self.accuracy, self.tested, self.data = shape, accuracy, tested, data
        self.classes = network.head.out_features
        self._device = network.head.weight.device

    @property
    def protocol(self) -> ProtocolEntries:
        """Network, weights' hash, dimensions, classes, and the accuracy on how many unseen images."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return {
            "network": "classifier",
            "weights": f"sha256:{digest.hexdigest()}",
            "resize": "none",
            "precision": "float32",
            "dimensions": DIMENSIONS,
            "classes": self.classes,
            "classifier_accuracy": self.accuracy,
            "classifier_accuracy_images": self.tested,
        }

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Features, float32 N×128, of uint8 images of the shape that it was trained on, N×C×H×W."""
        check_images(images)
        height, width, channels = self.shape
        if images.shape[1:] != (channels, height, width):
            raise UserError(
                f"the classifier knows {height}×{width} images with {channels} channel(s), these are "
                f"{images.shape[2]}×{images.shape[3]} with {images.shape[1]}; score images of the data's size, "
                "or use features: inception"
            )
        # On CUDA, convolutions would round their inputs to TF32, 10 bits of mantissa, unless told not to.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            chunks = torch.split(images, 256)
            return torch.cat([self.network.features(chunk.to(self._device)).cpu() for chunk in chunks])

    @torch.inference_mode()
    def logits(self, features: Tensor) -> Tensor:
        """The class scores before the softmax, float32 N×classes, from features."""
        scores: Tensor = self.network.head(features.to(self._device))
        return scores.cpu()

    def to(self, device: str | torch.device) -> "Classifier":
        """Compute on a device from now on; features come back to the CPU."""
        self._device = torch.device(device)
        self.network.to(self._device)
        return self

    def save(self, path: Path) -> None:
        """Write a .safetensors with everything needed to use it as a feature network again."""
        description = {
            "format": FORMAT,
            "shape": self.shape,
            "classes": self.classes,
            "accuracy": self.accuracy,
            "tested": self.tested,
            "data": self.data,
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        files.write(path, safetensors.torch.save(tensors, {"gancli": json.dumps(description)}))


def load(path: Path) -> Classifier:
    """A classifier that `Classifier.save` wrote.

    Raises:
        UserError: no such file, or not a classifier of gancli's.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {}).get("gancli", "{}"))
            if description.get("format") != FORMAT:
                raise UserError(f"{path}: not a classifier of gancli's; make one with `gancli fit-features`")
            height, width, channels = (int(size) for size in description["shape"])
            network = Network(channels, max(height, width), int(description["classes"]))
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: not a readable classifier; make one with `gancli fit-features`") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise UserError(f"{path}: holds NaN or infinity; make it again with `gancli fit-features`")
    accuracy, tested = float(description["accuracy"]), int(description["tested"])
    return Classifier(network, (height, width, channels), accuracy, tested, str(description["data"]))


def cached(key: str, train: Callable[[], Classifier]) -> Classifier:
    """The classifier of some data, without reading an image where it was trained before with the same constants.

    Args:
        key: says which images with which labels are trained and tested on, and the seed.
        train: called only when it must be.
    """
    digest = hashlib.sha256(repr((CONSTANTS, key)).encode()).hexdigest()
    path = files.cache("classifiers") / f"{digest}.safetensors"
    if path.is_file():
        try:
            return load(path)
        except UserError:  # a damaged cache entry is made again
            path.unlink(missing_ok=True)
    trained = train()
    trained.save(path)
    return trained


def train_classifier(
    images: Images,
    labels: Labels,
    *,
    classes: int,
    seed: int,
    test: tuple[Images, Labels] | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> Classifier:
    """Train on labelled images with Adam under a one-cycle learning rate; repeatable on the same machine.

    Args:
        images: uint8 N×H×W×C, sides of 8 to 64 pixels, 1 or 3 channels.
        labels: integers N, in 0..classes-1.
        classes: how many.
        seed: of the initial weights, the order, and the held-out images.
        test: images and labels to measure the accuracy on; None holds a tenth of the images out of the training.
        progress: called after each step.
        device: where it is trained; initial weights and order do not depend on it.

    Raises:
        UserError: too few images, or images and labels that do not match.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or len(images) != len(labels) or len(images) < 2 * classes:
        raise UserError(
            f"a classifier needs uint8 N×H×W×C images with a label each, at least two a class; there are {len(images)} "
            f"images of shape {images.shape[1:]} with {len(labels)} labels for {classes} classes; give labelled data"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"labels go from {labels.min()} to {labels.max()}, not within 0 to {classes - 1}; check the data"
        )
    height, width, channels = images.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = _tensors(images, labels)
    if test is None:
        order = torch.randperm(len(inputs), generator=generator)
        held, kept = order.tensor_split([max(1, int(HELD_OUT * len(inputs)))])
        held_inputs, held_targets = inputs[held], targets[held]
        inputs, targets = inputs[kept], targets[kept]
    else:
        held_inputs, held_targets = _tensors(*test)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(channels, max(height, width), classes)
    _channels_last(network).to(device)
    epochs = max(1, min(LARGEST_EPOCHS, round(LARGEST_TRAINING_IMAGES / len(inputs))))
    batch_size = min(BATCH_SIZE, len(inputs))
    steps_an_epoch = len(inputs) // batch_size
    steps = epochs * steps_an_epoch
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=max(steps, 4))

    network.train()
    for step in range(steps):
        if step % steps_an_epoch == 0:
            order = torch.randperm(len(inputs), generator=generator)
        chosen = order[step % steps_an_epoch * batch_size :][:batch_size]
        loss = functional.cross_entropy(network(inputs[chosen].to(device)), targets[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps, loss.item())

    data = _key(images, labels, classes, seed, test)
    trained = Classifier(network, (height, width, channels), 0.0, len(held_inputs), data).to(device)
    guesses = trained.logits(trained(held_inputs)).argmax(1)
    trained.accuracy = (guesses == held_targets).double().mean().item()
    return trained


def _tensors(images: Images, labels: Labels) -> tuple[Tensor, Tensor]:
    """uint8 N×C×H×W and int64 N; copies, as torch takes no read-only arrays."""
    return torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels.astype(np.int64))


def _key(images: Images, labels: Labels, classes: int, seed: int, test: tuple[Images, Labels] | None) -> str:
    """A hash of everything that decides the weights and the accuracy."""
    digest = hashlib.sha256(repr((CONSTANTS, classes, seed, images.shape, test is not None)).encode())
    for pixels, names in ((images, labels), test or (images[:0], labels[:0])):
        digest.update(np.ascontiguousarray(pixels).data)
        digest.update(np.ascontiguousarray(names, np.int64).data)
    return digest.hexdigest()


def _channels_last(network: Network) -> Network:
    """The memory format that CPUs convolve fastest in; the format also decides the last bit of a result."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
