"""What feeding a network costs: decoding, gathering and memory, measured in one interleaved run.

Run `python benchmarks/data.py`. It makes a folder of JPEG images in a temporary place: nothing is needed, nothing left.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.data.pixels import Form, decode, fit
from gancli.data.prepare import prepare
from gancli.recipe.data import Images

BATCH = 64
SIZE = 64


def photographs(folder: Path, count: int, side: int) -> None:
    """JPEG files with the fine and coarse structure of photographs."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side), Image.BICUBIC)
        noisy = np.asarray(coarse) + rng.normal(0, 8, (side, side, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=90)


class Decoding(Dataset):
    """What most training scripts do: open, resize and scale each image whenever it is its turn."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with self.paths[index].open("rb") as file:
            pixels = fit(decode(file), Form(SIZE, SIZE))
        if torch.rand(()) < 0.5:
            pixels = pixels[:, ::-1].copy()
        return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(127.5).sub_(1)


def rate(batches: Callable[[], Iterator[object]], count: int) -> float:
    """Images a second over a number of batches."""
    source = batches()
    for _ in range(5):
        next(source)
    finish()
    start = time.perf_counter()
    for _ in range(count):
        next(source)
    finish()
    return count * BATCH / (time.perf_counter() - start)


def finish() -> None:
    """Wait for what was asked of the accelerator."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def speed(count: int, side: int, rounds: int, device: str) -> dict[str, float]:
    """The median rates of each way, measured in turns so that all meet the same disturbances."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["GANCLI_CACHE"] = name + "/cache"
        photographs(Path(name) / "set", count, side)
        settings = Images(source=name + "/set", image_size=SIZE, holdout=0, flip=True)
        start = time.perf_counter()
        data = load(settings)
        once = count / (time.perf_counter() - start)
        array = np.asarray(data.images["image"])
        rng = np.random.default_rng(0)

        def gathered() -> Iterator[object]:
            for batch in Batches(data, BATCH, 0):
                yield prepare({key: images.to(device) for key, images in batch.items()}, settings, training=True)

        def only_gathered() -> Iterator[object]:
            yield from Batches(data, BATCH, 0)

        def bare() -> Iterator[object]:
            while True:
                yield array[rng.integers(0, count, BATCH)]

        def workers() -> Iterator[object]:
            loader = DataLoader(Decoding(Path(name) / "set"), BATCH, shuffle=True, num_workers=2, drop_last=True)
            while True:
                yield from loader

        ways = {"gather": only_gathered, "gather, float, flip": gathered, "numpy fancy index": bare}
        rates: dict[str, list[float]] = {way: [] for way in [*ways, "decode each epoch, 2 workers"]}
        for _ in range(rounds):
            for way, batches in ways.items():
                rates[way].append(rate(batches, 300))
            rates["decode each epoch, 2 workers"].append(rate(workers, count // BATCH - 6))
        return {"decode once": once} | {way: statistics.median(values) for way, values in rates.items()}


MEMORY = """
import sys
from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.recipe.data import Images
data = load(Images(source=sys.argv[1], image_size=64, holdout=0))
for batch in Batches(data, 64, 0, 0, len(data) // 64 + 64):
    pass
kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("Vm")}
print(len(data), kilobytes["VmRSS"] // 1024, kilobytes["VmHWM"] // 1024)
"""


def memory(counts: list[int]) -> dict[int, tuple[int, int]]:
    """Resident memory in MB, at the end and at its highest, of a process that shows each of so many images once."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        environment = os.environ | {"GANCLI_CACHE": name + "/cache", "PYTHONPATH": str(Path(__file__).parents[1])}
        for count in counts:
            path = Path(name) / f"{count}.npy"
            array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 64, 64, 3))
            for start in range(0, count, 1000):
                array[start : start + 1000] = np.random.default_rng(start).integers(0, 256, (1000, 64, 64, 3), np.uint8)
            del array
            command = [sys.executable, "-c", MEMORY, str(path)]
            # The first process fills the cache; the second shows what a training sees.
            for _ in range(2):
                out = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                ).stdout.split()
            found[count] = (int(out[1]), int(out[2]))
    return found


def main() -> None:
    """Print every figure and its ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="JPEG files")
    parser.add_argument("--side", type=int, default=256, help="their side in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="where the batches go")
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 100_000], help="sizes of set for the memory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    rates = speed(options.count, options.side, options.rounds, options.device)
    resident = memory(options.images)
    ours = rates["gather, float, flip"]
    figures = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "images_per_second": {way: round(value) for way, value in rates.items()},
        "times_decoding_each_epoch": round(ours / rates["decode each epoch, 2 workers"], 1),
        "share_of_fancy_index": round(ours / rates["numpy fancy index"], 2),
        "gather_share_of_fancy_index": round(rates["gather"] / rates["numpy fancy index"], 2),
        "resident_megabytes": {str(count): values for count, values in resident.items()},
        "this_process_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if options.json:
        print(json.dumps(figures))
        return
    for way, value in figures["images_per_second"].items():
        print(f"{way:<32}{value:>12,} images/s")
    print(f"{'against decoding each epoch':<32}{figures['times_decoding_each_epoch']:>12} times")
    print(f"{'against a bare fancy index':<32}{figures['share_of_fancy_index']:>12}")
    for count, (end, highest) in resident.items():
        print(f"resident memory, {count:>7,} images {end:>12,} MB (highest {highest:,} MB)")


if __name__ == "__main__":
    main()
