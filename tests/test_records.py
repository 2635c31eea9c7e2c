"""Records: valid JSON whatever was measured, and the mean of several without a number that is none."""

import json
import math

from gancli.score import records


def test_what_is_no_number_is_null_with_a_reason() -> None:
    values = {"fid": 1.5, "psnr": math.inf, "kid_deviation": math.nan, "other": -math.inf}
    record = records.of(values, ["careful"], {"seed": 0, "values": 3, "warnings": 4}, {"psnr": "all pairs are equal"})
    assert json.loads(json.dumps(record, allow_nan=False)) == {
        "values": {"fid": 1.5, "psnr": None, "kid_deviation": None, "other": None},
        "not_finite": {"psnr": "all pairs are equal", "kid_deviation": "undefined", "other": "infinite"},
        "warnings": ["careful"],
        "seed": 0,
    }


def test_numbers_that_earlier_versions_wrote_as_texts_are_read() -> None:
    assert records.number("inf") == math.inf and math.isnan(records.number(None)) and records.number(2) == 2


def test_the_mean_of_several_is_given_where_each_has_a_value() -> None:
    sides = {
        "a-to-b": records.of({"fid": 2.0, "psnr": 20.0}, ["FID of 5 images: few"], {"resize": "tf1"}),
        "b-to-a": records.of({"fid": 4.0, "psnr": math.inf}, ["FID of 9 images: few"], {"resize": "tf1"}),
        "a-to-b by reference": records.of({"fid": 8.0, "psnr": 1.0}, [], {"resize": "clean"}),
    }
    merged = records.together(sides, [" by reference"])
    assert merged["values"]["fid"] == 3 and merged["values"]["fid by reference"] == 8
    assert merged["values"]["psnr"] is None and merged["values"]["psnr a-to-b"] == 20
    assert merged["not_finite"] == {"psnr": "b-to-a has none", "psnr b-to-a": "infinite"}
    assert merged["warnings"] == ["a-to-b: FID of 5 images: few (and 1 more like this)"]
    assert merged["resize"] == {"a-to-b": "tf1", "b-to-a": "tf1", "a-to-b by reference": "clean"}
