import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from gancli import files
from gancli.errors import UserError
from gancli.metrics.evaluate import evaluate
from gancli.metrics.fid import cached_statistics, fid_infinity, frechet, of_features, statistics
from gancli.metrics.moments import Statistics
from gancli.metrics.names import METRICS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def features(linear):
    return linear(192, 24)


def labels(count):
    return torch.arange(count) % 2


def test_every_metric_in_one_pass_with_its_protocol(features, images):
    reals, fakes = images(200, 0), images(150, 1) // 2
    found = evaluate(
        fakes.split(40),
        reals.split(60),
        features,
        METRICS,
        bootstrap=3,
        subject_labels=labels(150),
        reference_labels=labels(200),
    )
    assert features.images_seen == 350, "each image once"
    expected = frechet(statistics([reals], features), statistics([fakes], features))
    assert found.values["fid"] == pytest.approx(expected, rel=1e-9)
    assert set(found.values) >= {
        "fid", "fid_deviation", "fid_infinity", "kid", "kid_deviation", "is", "is_deviation", "precision", "recall",
        "density", "coverage", "fid_bias", "fid_infinity_deviation", "is_bias", "intra_fid_bias", "share_0",
        "confidence", "accuracy", "intra_fid", "fid_0", "fid_1",
    }  # fmt: skip
    assert found.values["intra_fid"] == pytest.approx((found.values["fid_0"] + found.values["fid_1"]) / 2)
    assert 0 < found.values["fid_deviation"] < found.values["fid"]
    said = {"network": "linear", "images": 150, "image_size": "8×8", "seed": 0, "prdc_neighbours": 5}
    said |= {"reference_images": 200, "reference_image_size": "8×8"}
    assert said.items() <= found.protocol.items()
    json.dumps(found.protocol)
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "IS of 150 images in 10 parts",
        "FID∞ of 150 images",
        "intra-FID of 75 images in the smallest class",
    ], "150 images are many for an FID of 24 dimensions, and few for the others"


def test_fid_holds_no_features(features, images):
    alive = weakref.WeakSet()
    most = 0

    class Watched:
        name, dimensions, protocol = features.name, features.dimensions, features.protocol

        def __call__(self, batch):
            nonlocal most
            found = features(batch)
            alive.add(found)
            most = max(most, len(alive))
            return found

    evaluate((images(5, i) for i in range(30)), (images(5, -i) for i in range(1, 31)), Watched(), ["fid"])
    assert most <= 2


def test_cached_statistics_read_no_image_of_the_reference(features, images):
    first = cached_statistics("digits, train", lambda: [images(50, 0)], features)
    again = cached_statistics("digits, train", lambda: pytest.fail("an image was read"), features)
    assert again.sigma.equal(first.sigma)
    values = evaluate([images(50, 1)], again, features).values
    assert values == evaluate([images(50, 1)], [images(50, 0)], features).values
    (path,) = files.cache("statistics").iterdir()
    path.write_bytes(b"damaged")
    assert cached_statistics("digits, train", lambda: [images(50, 0)], features).sigma.equal(first.sigma)
    other = cached_statistics("digits, test", lambda: [images(50, 2)], features)
    assert not other.sigma.equal(first.sigma)


def test_the_bias_of_few_images_is_followed_to_infinity(linear):
    features = linear(1, 1)
    draw = lambda count, seed: torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    reals = Statistics(torch.zeros(24).double(), torch.eye(24).double())
    few = draw(1000, 1)
    biased = frechet(reals, of_features(few, features.protocol))
    endless = fid_infinity(reals, few, {}, seed=0).value
    assert biased > 0.1
    assert abs(endless) < biased / 4


@pytest.mark.parametrize(
    ("metrics", "reference", "said"),
    [
        (["fid"], None, "--against"),
        (["fdi"], "images", "unknown metric 'fdi'"),
        (["kid"], "statistics", "kid needs the reference's images"),
        (["prdc"], "statistics", "prdc needs the reference's images"),
        (["accuracy"], None, "needs the class of each image"),
        (["fid"], "another network", "network other against linear"),
    ],
)
def test_what_cannot_be_served_is_refused_before_an_image_is_read(features, images, metrics, reference, said):
    eye, zero = torch.eye(24).double(), torch.zeros(24).double()
    given = {
        None: None,
        "images": [images(9, 0)],
        "statistics": Statistics(zero, eye, 9),
        "another network": Statistics(zero, eye, 9, protocol={"network": "other"}),
    }[reference]
    with pytest.raises(UserError) as refused:
        evaluate([images(9, 1)], given, features, metrics)
    assert said in str(refused.value) or "network linear against other" in str(refused.value)
    assert features.images_seen == 0


def test_nan_features_are_refused(features, images):
    features.matrix[0, 0] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        evaluate([images(9, 1)], [images(9, 0)], features, ["kid"])


@pytest.mark.parametrize("count", [0, 1])
def test_no_image_or_one_is_refused(features, images, count):
    with pytest.raises(UserError, match="at least"):
        evaluate([images(1, 1)] * count, [images(9, 0)], features)


PROCESS = """
import json, sys, torch
sys.path[:0] = [sys.argv[1], "."]
from conftest import Linear, noise
from gancli.metrics.evaluate import evaluate
rank = int(sys.argv[3])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
reals, fakes = noise(301, 0)[rank::2], noise(200, 1)[rank::2] // 2
found = evaluate(fakes.split(40), reals.split(60), Linear(192, 24), ["fid", "prdc"])
print(json.dumps([found.values, found.protocol]) if rank == 0 else "")
torch.distributed.destroy_process_group()
"""


def test_two_processes_measure_the_same(features, images, tmp_path):
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), str(tmp_path / "meeting")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank)], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    values, protocol = json.loads(outputs[0][0].splitlines()[-1])
    alone = evaluate([images(200, 1) // 2], [images(301, 0)], features, ["fid", "prdc"])
    assert protocol == alone.protocol
    assert values == pytest.approx(alone.values, rel=1e-6)
