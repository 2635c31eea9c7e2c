"""How fast Inception's features come, what bf16 adds, and what the distances cost in seconds and memory.

    python benchmarks/metrics.py [speed] [distance] [memory]

Needs no published weights: speed and memory do not depend on the values, and random weights of a sane scale keep the
activations in the range where arithmetic has its usual speed.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from gancli.metrics import fid, kid, prdc, resize
from gancli.metrics.inception import Inception, InceptionFeatures

BATCH = 50
ROUNDS = 5


def speed() -> None:
    """Images/s of the feature network against the same graph run plainly, interleaved; the median of the rounds."""
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = random_inception()
    ways: dict[str, Callable[[], Tensor]] = {
        "plain float32, batches of 50": lambda: plainly(plain, images),
        "gancli float32": bound(InceptionFeatures(random_inception(), "random"), images),
    }
    bf16 = InceptionFeatures(random_inception(), "random", precision="bf16")
    ways["gancli bf16"] = bound(bf16, images)
    bf16(images)  # the first images are also computed in float32
    features = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    base_name = next(iter(ways))
    for name, times in seconds.items():
        ratio = median(base / mine for base, mine in zip(seconds[base_name], times, strict=True))
        difference = (features[name] - features[base_name]).norm() / features[base_name].norm()
        print(f"{name:30} {BATCH / median(times):6.2f} images/s  {ratio:4.2f}×  features differ by {difference:.1e}")
    stated = bf16.protocol
    print(
        f"bf16 states: differs by {stated['bf16_relative_difference']:.1e}, {stated['bf16_times_as_fast']:.2f}× as fast"
    )


def distance() -> None:
    """Seconds of the Fréchet distance itself and of torchmetrics' own compute, at 2,048 dimensions."""
    sides = {
        real: torch.randn(5000, 2048, generator=torch.Generator().manual_seed(real)) * (1 + real) for real in (0, 1)
    }
    metric = FrechetInceptionDistance(feature=Given(), compute_with_cache=False).set_dtype(torch.float64)
    for real, features in sides.items():
        metric.update(features.double(), real=bool(real))
    one, other = (fid.of_features(features, {}) for features in sides.values())
    ways: dict[str, Callable[[], float]] = {
        "gancli": lambda: fid.frechet(one, other),
        "torchmetrics": lambda: float(metric.compute()),
    }
    for name, way in ways.items():
        value = way()
        times = [timed(way) for _ in range(ROUNDS)]
        print(f"Fréchet distance, {name:12} {median(times):5.2f} s (best {min(times):.2f})   value {value:.9g}")


class Given(nn.Module):
    """The identity over 2,048 features."""

    num_features = 2048

    def forward(self, features: Tensor) -> Tensor:
        """What was given."""
        return features


def memory() -> None:
    """The largest resident size, each case in a process of its own."""
    cases = {
        "imports alone": "pass",
        "FID of 1,000 images": "stream(1_000)",
        "FID of 50,000 images": "stream(50_000)",
        "PRDC of 10,000 × 2,048 on both sides": "balls()",
        "KID of 10,000 × 2,048 on both sides": "kernels()",
    }
    for name, call in cases.items():
        code = (
            f"import sys; sys.path[:0] = ['.', 'benchmarks']; import metrics; metrics.reported(lambda: metrics.{call})"
        )
        code = code.replace("metrics.pass", "None")
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        print(f"{name:38} {out.strip()}")


def reported(work: Callable[[], object]) -> None:
    """Run it and print its seconds and the process's largest resident size."""
    seconds = timed(work)
    print(f"{seconds:6.1f} s  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:5.2f} GiB")


def stream(count: int) -> None:
    """FID statistics of random features of 2,048 dimensions, made as they are asked for."""

    class Given:
        name, dimensions, protocol = "given", 2048, {"network": "given"}

        def __call__(self, images: Tensor) -> Tensor:
            return torch.randn(len(images), 2048)

    def batches() -> Iterator[Tensor]:
        for _ in range(count // BATCH):
            yield torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8)

    fid.statistics(batches(), Given())


def balls() -> None:
    """Precision, recall, density, coverage."""
    prdc.prdc(torch.randn(10_000, 2048), torch.randn(10_000, 2048))


def kernels() -> None:
    """KID with its default subsets."""
    kid.kid(torch.randn(10_000, 2048), torch.randn(10_000, 2048), seed=0)


def random_inception() -> Inception:
    """The graph with He weights."""
    torch.manual_seed(0)
    network = Inception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network


@torch.no_grad()
def plainly(network: Inception, images: Tensor) -> Tensor:
    """Resize the whole batch, then the graph as it is published: convolution, batch normalisation, ReLU."""
    features: Tensor = network(resize.tf1(images))
    return features


def bound(features: InceptionFeatures, images: Tensor) -> Callable[[], Tensor]:
    """The call, as a function of nothing."""
    return lambda: features(images)


def timed(way: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


if __name__ == "__main__":
    for part in sys.argv[1:] or ["speed", "distance", "memory"]:
        {"speed": speed, "distance": distance, "memory": memory}[part]()
