"""The 2015 TensorFlow Inception behind published FIDs, built here and filled with the published weights.

The graph is Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (arXiv 1512.00567), as released
on 2015-12-05: 1,008 classes, average pools that do not count padding, and a last block that pools with max. Names and
shapes are those of the state dict that pytorch-fid and torch-fidelity publish.
"""

import copy
import hashlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from gancli import fetch
from gancli.errors import UserError
from gancli.metrics.features import ProtocolEntries, check_images
from gancli.metrics.resize import WAYS, Resize

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE_NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
FETCH = "gancli fetch inception"
DIMENSIONS = 2048
CLASSES = 1008
LARGEST_FILE_BYTES = 512 * 2**20
COMPARED_IMAGES = 32

Precision = Literal["float32", "bf16"]
Pool = Callable[[Tensor], Tensor]


class Inception(nn.Module):
    """The graph: float32 N×3×299×299 in [-1, 1] to the pooled features, float32 N×2048; always in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = FiveByFive(192, pooled=32)
        self.Mixed_5c = FiveByFive(256, pooled=64)
        self.Mixed_5d = FiveByFive(288, pooled=64)
        self.Mixed_6a = FirstReduction(288)
        self.Mixed_6b = SevenBySeven(768, inner=128)
        self.Mixed_6c = SevenBySeven(768, inner=160)
        self.Mixed_6d = SevenBySeven(768, inner=160)
        self.Mixed_6e = SevenBySeven(768, inner=192)
        self.Mixed_7a = SecondReduction(768)
        self.Mixed_7b = Expanded(1280, pool=_average_pool)
        self.Mixed_7c = Expanded(2048, pool=_max_pool)
        self.fc = nn.Linear(DIMENSIONS, CLASSES)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Inception":
        """Stay in evaluation mode: batch statistics would make each image's features depend on its neighbours."""
        return super().train(False)

    def forward(self, scaled: Tensor) -> Tensor:
        """Scaled images to features."""
        maps = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(scaled)))
        maps = functional.max_pool2d(maps, 3, stride=2)
        maps = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(maps))
        maps = functional.max_pool2d(maps, 3, stride=2)
        maps = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(maps)))
        maps = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(maps)))))
        maps = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(maps)))
        features: Tensor = maps.float().mean((2, 3))
        return features

    def fold(self) -> "Inception":
        """Fold each batch normalisation into its convolution: the same function, a third of the memory traffic less."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.fold()
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class InceptionFeatures:
    """Inception as a feature network: resize, scaling and graph; gray becomes three equal channels.

    Args:
        network: with its weights loaded; it is folded in place.
        weights_sha256: of the file they came from.
        resize: one of `resize.RESIZES`.
        precision: bf16 computes the convolutions in bfloat16, and measures on its first 32 images, which it computes in
            float32 too, what that changes and whether it is faster: not every processor with bfloat16 is.
        device: where the network runs.
    """

    name = "inception"
    dimensions = DIMENSIONS

    def __init__(
        self,
        network: Inception,
        weights_sha256: str,
        resize: Resize = "tf1",
        precision: Precision = "float32",
        device: str | torch.device = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._network = network.fold().to(self._device)
        self._low_precision: Inception | None = None
        if precision == "bf16":
            self._low_precision = copy.deepcopy(self._network).bfloat16()
        self._resize = resize
        self._weights_sha256 = weights_sha256
        self._precision = precision
        self._compared, self._difference, self._magnitude = 0, 0.0, 0.0
        self._seconds: dict[Precision, list[float]] = {"float32": [], "bf16": []}
        # On a CPU the maps of a few images stay in the caches: 8 at a time run faster than 50.
        self._chunk = 8 if self._device.type == "cpu" else 64

    @property
    def protocol(self) -> ProtocolEntries:
        """Network, weights, resize, precision; for bf16 also the relative difference and speed on the first images."""
        published = self._weights_sha256 == SHA256
        entries: ProtocolEntries = {
            "network": "inception-2015-12-05" if published else "inception, weights not the published ones",
            "weights": f"sha256:{self._weights_sha256}",
            "resize": self._resize,
            "precision": self._precision,
            "dimensions": DIMENSIONS,
        }
        if self._compared:
            entries["bf16_compared_images"] = self._compared
            entries["bf16_relative_difference"] = (self._difference / self._magnitude) ** 0.5
        if len(self._seconds["bf16"]) > 1:  # the first time is also that of getting ready
            entries["bf16_times_as_fast"] = min(self._seconds["float32"]) / min(self._seconds["bf16"])
        return entries

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Features, float32 N×2048 on the CPU, of uint8 N×1×H×W or N×3×H×W images of any size."""
        check_images(images)
        # On CUDA, convolutions would round their inputs to TF32, 10 bits of mantissa, unless told not to.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            chunks = torch.split(images, self._chunk)
            return torch.cat([self._features(chunk.to(self._device)).cpu() for chunk in chunks])

    @torch.inference_mode()
    def logits(self, features: Tensor) -> Tensor:
        """The 1,008 class scores, float32 N×1008, without the bias, as the Inception Score's authors computed them."""
        return functional.linear(features, self._network.fc.weight.to(features.device))

    def _features(self, images: Tensor) -> Tensor:
        scaled = WAYS[self._resize](images).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        if self._low_precision is None or self._compared >= COMPARED_IMAGES:
            network = self._low_precision
            features: Tensor = self._network(scaled) if network is None else network(scaled.bfloat16())
            return features
        low = self._timed("bf16", self._low_precision, scaled.bfloat16())
        full = self._timed("float32", self._network, scaled)
        self._compared += len(images)
        self._difference += (low - full).double().square().sum().item()
        self._magnitude += full.double().square().sum().item()
        return low

    def _timed(self, precision: Precision, network: Inception, scaled: Tensor) -> Tensor:
        """The features, whose seconds an image are noted."""
        start = time.perf_counter()
        features: Tensor = network(scaled)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._seconds[precision].append((time.perf_counter() - start) / len(scaled))
        return features


def load(
    weights: Path | None = None,
    *,
    resize: Resize = "tf1",
    precision: Precision = "float32",
    device: str | torch.device = "cpu",
) -> InceptionFeatures:
    """The feature network with the published weights, or with those of a file.

    Args:
        weights: a state dict of the published layout, .pth or .safetensors; None takes the published weights from
            gancli's cache or the torch hub cache.
        resize: one of `resize.RESIZES`.
        precision: float32, or bf16 (see `InceptionFeatures`).
        device: where the network runs.

    Raises:
        UserError: no weights, a cached file whose hash is not the published one, or a file that is no such state dict.
    """
    path = weights or find()
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if weights is None and digest != SHA256:
        raise UserError(
            f"{path}: its SHA-256 is {digest}, the published weights have {SHA256}; delete it and run `{FETCH}`"
        )
    network = Inception()
    network.load_state_dict(_checked(path, _state(path, content, trusted=digest == SHA256), network), strict=False)
    return InceptionFeatures(network, digest, resize, precision, device)


def find() -> Path:
    """Where the published weights lie: in gancli's cache or the torch hub cache, under either published name."""
    torch_home = os.environ.get("TORCH_HOME") or (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    )
    for folder in (fetch.place("inception").parent, Path(torch_home) / "hub" / "checkpoints"):
        for name in FILE_NAMES:
            if (folder / name).is_file():
                return folder / name
    raise UserError(f"the Inception weights are not on this machine; run `{FETCH}`, or name a file with --weights")


def _read(path: Path) -> bytes:
    """The whole file at once, so that what is hashed is what is loaded."""
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise UserError(
                f"{path}: too large for Inception's weights (about 95 MB); name another file with --weights"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}; name a readable file with --weights, or run `{FETCH}`"
        ) from error


def _state(path: Path, content: bytes, trusted: bool) -> object:
    """The state dict in a file. Only the published file, known by its hash, may be of the format older than zip:
    for others the size after unpacking must be known before anything is unpacked.
    """
    refusal = f"{path}: not a readable state dict; give a .pth or .safetensors of the published layout with --weights"
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        if not trusted:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > LARGEST_FILE_BYTES:
                    raise UserError(refusal)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # a hostile file can raise anything: pickle, struct, recursion, memory, runtime errors
        raise UserError(refusal) from error


def _checked(path: Path, state: object, network: Inception) -> dict[str, Tensor]:
    """The tensors of a state dict, each of its name and shape, finite; the counters of training batches are dropped."""
    expected = {name: tensor.shape for name, tensor in network.state_dict().items() if not _is_counter(name)}
    entries = state if isinstance(state, Mapping) else {}
    given = {str(name): value for name, value in entries.items() if not _is_counter(str(name))}
    mistakes = [f"{name} is missing" for name in expected if name not in given]
    mistakes += [f"{name} is unknown" for name in given if name not in expected]
    tensors: dict[str, Tensor] = {}
    for name in expected.keys() & given.keys():
        value = given[name]
        if not isinstance(value, Tensor) or value.shape != expected[name] or not value.is_floating_point():
            mistakes.append(f"{name} is not a tensor of floats of shape {tuple(expected[name])}")
        elif not value.isfinite().all():
            mistakes.append(f"{name} holds NaN or infinity")
        elif name.endswith("running_var") and value.min() < 0:
            mistakes.append(f"{name} holds a negative variance")
        else:
            tensors[name] = value
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise UserError(
            f"{path}: not the published Inception's layout: {min(mistakes)}{more}; give another file with --weights"
        )
    return tensors


def _is_counter(name: str) -> bool:
    return name.endswith(".num_batches_tracked")


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W maps to N×outputs×H'×W'."""
        return functional.relu(self.bn(self.conv(maps)), inplace=True)

    def fold(self) -> None:
        """One convolution with a bias in place of the pair; a second call changes nothing."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class FiveByFive(nn.Module):
    """35×35 maps: 1×1, 5×5, two 3×3 in a row, and pooling, side by side."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W maps to the branches' outputs, one after the other along the channels."""
        five = self.branch5x5_2(self.branch5x5_1(maps))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        return torch.cat([self.branch1x1(maps), five, double, self.branch_pool(_average_pool(maps))], 1)


class FirstReduction(nn.Module):
    """35×35 to 17×17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W maps to the branches' outputs, one after the other along the channels."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        return torch.cat([self.branch3x3(maps), double, functional.max_pool2d(maps, 3, stride=2)], 1)


class SevenBySeven(nn.Module):
    """17×17 maps: 7×7 convolutions factored into 1×7 and 7×1, once and twice."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        wide = partial(Convolution, kernel=(1, 7), padding=(0, 3))
        tall = partial(Convolution, kernel=(7, 1), padding=(3, 0))
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, inner, 1)
        self.branch7x7_2 = wide(inner, inner)
        self.branch7x7_3 = tall(inner, 192)
        self.branch7x7dbl_1 = Convolution(inputs, inner, 1)
        self.branch7x7dbl_2 = tall(inner, inner)
        self.branch7x7dbl_3 = wide(inner, inner)
        self.branch7x7dbl_4 = tall(inner, inner)
        self.branch7x7dbl_5 = wide(inner, 192)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W maps to the branches' outputs, one after the other along the channels."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(maps)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(maps)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(maps), seven, double, self.branch_pool(_average_pool(maps))], 1)


class SecondReduction(nn.Module):
    """17×17 to 8×8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W maps to the branches' outputs, one after the other along the channels."""
        three = self.branch3x3_2(self.branch3x3_1(maps))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(maps))))
        return torch.cat([three, seven, functional.max_pool2d(maps, 3, stride=2)], 1)


class Expanded(nn.Module):
    """8×8 maps: 3×3 convolutions whose outputs fan out into 1×3 and 3×1; the two such blocks pool differently."""

    def __init__(self, inputs: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W maps to the branches' outputs, one after the other along the channels."""
        three = self.branch3x3_1(maps)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(maps))
        fans = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        fans += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(maps), *fans, self.branch_pool(self.pool(maps))], 1)


def _average_pool(maps: Tensor) -> Tensor:
    """3×3 means at every place; TensorFlow's leave the padding out of the count."""
    return functional.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool(maps: Tensor) -> Tensor:
    return functional.max_pool2d(maps, 3, stride=1, padding=1)
