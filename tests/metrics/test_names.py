import subprocess
import sys

import pytest

from gancli.errors import UserError
from gancli.metrics import names
from gancli.metrics.names import Given, check_served, read


@pytest.mark.parametrize("words", [["fid,kid"], ["fid, kid"], [" fid ,kid,"], ["fid", "kid"], ["fid,kid", "fid"]])
def test_metrics_are_named_with_or_without_spaces_once_or_again(words):
    assert read(words) == ["fid", "kid"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fid,kdi"], "unknown metric 'kdi': did you mean kid"),
        (["FID"], "unknown metric 'FID'"),
        (["fid kid"], "unknown metric 'fid kid'"),
        ([","], "no metric is named"),
        ([""], "no metric is named"),
    ],
)
def test_what_names_no_metric_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        read(words)


IMAGES, FILE = Given(100, labelled=True), Given(None, statistics=True)


@pytest.mark.parametrize(
    ("asked", "subject", "reference", "bootstrap", "said"),
    [
        (["fid"], IMAGES, IMAGES, 1, "--bootstrap 1: one resample has no deviation"),
        (["kid"], IMAGES, IMAGES, 5, "add fid to --metrics"),
        (["fid"], FILE, FILE, 5, "of statistics only the fid .* without --bootstrap"),
        (["is"], FILE, None, 0, "of statistics only the fid"),
        (["fid"], IMAGES, None, 0, "--against"),
        (["kid"], IMAGES, FILE, 0, "kid needs the reference's images"),
        (["pairs"], IMAGES, FILE, 0, "pairs needs the reference's images"),
        (["pairs"], IMAGES, Given(99), 0, "100 images against 99 targets"),
        (["accuracy"], Given(9), None, 0, "needs the class of each image"),
        (["intra-fid"], IMAGES, Given(9), 0, "class of each reference image"),
        (["fid"], Given(1), IMAGES, 0, "fid needs at least 2 images on a side, there is 1"),
        (["fid"], IMAGES, Given(1), 0, "fid needs at least 2 images on a side, there is 1"),
        (["fid-infinity"], Given(19), IMAGES, 0, "at least 20 images"),
    ],
)
def test_what_cannot_be_served_is_known_from_the_sides_alone(asked, subject, reference, bootstrap, said):
    with pytest.raises(UserError, match=said):
        check_served(asked, subject, reference, bootstrap)


def test_everything_else_is_served():
    check_served(names.NAMES, IMAGES, IMAGES, 2)
    check_served(["fid"], FILE, FILE)
    check_served(["fid", "fid-infinity"], IMAGES, FILE)


def test_names_need_no_torch():
    code = "import gancli.metrics.names, sys; assert not {'torch', 'numpy', 'scipy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
