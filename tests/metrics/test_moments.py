"""Statistics files: what is read of them, how much of it, and what is no covariance."""

import json
import zipfile

import numpy as np
import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import fid, trust
from gancli.metrics.fid import frechet, of_features, rank
from gancli.metrics.moments import LARGEST_DIMENSIONS, Statistics, is_statistics
from gancli.metrics.sides import described, measure


def features(count, dimensions=12, seed=0, shift=0.0):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def moments(count=50, dimensions=12, seed=0):
    found = of_features(features(count, dimensions, seed), {})
    return {"mu": found.mu.numpy(), "sigma": found.sigma.numpy()}


def test_nothing_but_the_known_arrays_is_read(tmp_path):
    """Another tool may keep names, paths or all features beside them: here arrays that no program could hold."""
    path = tmp_path / "much.npz"
    np.savez(path, **moments(), paths=np.array(["a.png", "b.png"]), junk=np.zeros(3), objects=np.array([{}], object))
    with zipfile.ZipFile(path, "a") as archive:
        with archive.open("features.npy", "w") as member:
            header = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 2048)}
            np.lib.format.write_array_header_1_0(member, header)
        archive.getinfo("features.npy").file_size = 2**41
    loaded = Statistics.load(path)
    assert loaded.n is None and loaded.sigma.numpy() == pytest.approx(moments()["sigma"])


def test_float32_stays_float32_until_it_is_needed(tmp_path):
    np.savez(tmp_path / "single.npz", **{name: array.astype(np.float32) for name, array in moments().items()})
    np.savez(tmp_path / "double.npz", **moments())
    single, double = (Statistics.load(tmp_path / f"{name}.npz") for name in ("single", "double"))
    assert single.sigma.dtype == single.mu.dtype == torch.float32
    other = of_features(features(60, seed=1, shift=0.4), {})
    assert frechet(single, other) == pytest.approx(frechet(double, other), rel=1e-5)


def test_a_form_that_would_fill_the_memory_is_refused_by_its_header(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    side = LARGEST_DIMENSIONS + 1
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in (("mu", (side,)), ("sigma", (side, side))):
            with archive.open(f"{name}.npy", "w") as member:
                header = {"descr": "<f8", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("an array was read"))
    with pytest.raises(UserError, match="not a readable statistics file"):
        Statistics.load(path)


def turned(values):
    """A symmetric matrix with these eigenvalues, in no special position."""
    count = len(values)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((count, count)))[0]
    matrix = basis * np.asarray(values) @ basis.T
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize(
    ("sigma", "said"),
    [
        (turned([1, 1, 1, -0.5]), "not positive semi-definite"),
        (turned([1, 1, 1, -1e-4]), "not positive semi-definite"),
        (-np.eye(4), "not positive semi-definite"),
        (np.array([[1, 2], [2, 1.0]]), "not positive semi-definite"),
        (np.array([[1, 0.5], [0.4, 1.0]]), "not symmetric"),
        (np.array([[1, 0.5], [0.5 + 1e-4, 1.0]]), "not symmetric"),
        (np.array([[1, np.inf], [np.inf, 1.0]]), "NaN or infinity"),
    ],
)
def test_what_is_no_covariance_is_refused(sigma, said, tmp_path):
    np.savez(tmp_path / "bad.npz", mu=np.zeros(len(sigma)), sigma=sigma)
    with pytest.raises(UserError, match=said):
        Statistics.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(
    "found",
    [
        of_features(features(5, 64), {}),  # rank 4 of 64
        of_features(features(300, 64) * torch.logspace(0, -6, 64), {}),  # a millionth of the spread
        of_features(features(40, 8, shift=1e4), {}),  # far from 0, so that rounding is large
        of_features(torch.full((2, 8), 123.456), {}),  # two equal images: nothing but rounding
        of_features(torch.zeros(3, 8), {}),
    ],
    ids=["few images", "small axes", "far mean", "equal images", "black"],
)
def test_every_covariance_of_features_is_taken(kind, found, tmp_path):
    path = tmp_path / "good.npz"
    np.savez(path, mu=found.mu.numpy().astype(kind), sigma=found.sigma.numpy().astype(kind))
    assert Statistics.load(path).sigma.numpy() == pytest.approx(found.sigma.numpy(), abs=1e-2, rel=1e-5)


@pytest.mark.parametrize(
    "protocol",
    [
        [1],
        {"network": "a\x1b[31mb"},
        {"network": ["inception"]},
        {"network": None},
        {"x\n": "y"},
        {"resize": "x" * 2000},
        {"bf16": float("nan")},
    ],
)
def test_a_protocol_that_is_no_plain_text_is_refused(protocol, tmp_path):
    np.savez(tmp_path / "odd.npz", **moments(), protocol=np.array(json.dumps(protocol)))
    with pytest.raises(UserError, match="not a readable statistics file"):
        Statistics.load(tmp_path / "odd.npz")


@pytest.mark.parametrize("n", [-5, 0, 1])
def test_a_count_that_no_covariance_comes_from_is_refused(n, tmp_path):
    np.savez(tmp_path / "few.npz", **moments(), n=np.array(n))
    with pytest.raises(UserError):
        Statistics.load(tmp_path / "few.npz")


def test_what_is_no_zip_is_no_statistics(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK")
    assert not is_statistics(tmp_path / "x.npz")


def test_the_rank_tells_how_many_images_there_were_at_most(tmp_path):
    for kind in (np.float32, np.float64):
        found = {name: array.astype(kind) for name, array in moments(20, 64).items()}
        np.savez(tmp_path / "few.npz", **found)
        loaded = Statistics.load(tmp_path / "few.npz")
        assert rank(loaded) == 19
        warnings = trust.fid(fid.distance(loaded, loaded), *[measure(loaded, None, moments=True, hold=False)] * 2)
        assert "rank 19 of 64, as 20 images give" in warnings[0]


def test_of_two_files_everything_that_is_known_is_said_and_the_rest_called_unknown():
    mine = {"network": "inception-2015-12-05", "weights": "sha256:1", "resize": "tf1", "precision": "float32"}
    one = Statistics(torch.zeros(3).double(), torch.eye(3).double(), 60, {**mine, "image_size": "8×8"})
    other = Statistics(torch.ones(3).double(), torch.eye(3).double())
    subject, reference = (measure(side, None, moments=True, hold=False) for side in (one, other))
    assert described(subject, reference) == {
        **mine,
        "dimensions": 3,
        "images": 60,
        "image_size": "8×8",
        "reference_network": "unknown",
        "reference_weights": "unknown",
        "reference_resize": "unknown",
        "reference_precision": "unknown",
        "reference_images": "unknown",
        "reference_image_size": "unknown",
    }
    (warning,) = trust.fid(fid.distance(other, one), subject, reference)
    assert "reference's statistics do not say their network, weights, resize, precision, number of images" in warning
