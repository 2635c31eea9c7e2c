"""What a recipe may read besides itself, and what a message may say of a file that is no recipe."""

import os
from pathlib import Path

import pytest

from gancli import models
from gancli.errors import UserError
from gancli.recipe import reading

SECRET = "hunter2"
# Files that somebody who runs a stranger's recipe may read, and the stranger may not.
FOREIGN = {
    "shadow": f"root:{SECRET}:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n{SECRET}:!:19000::::::\n",
    "mapping": f"password: {SECRET}\ntoken: {{{SECRET}: 1}}\n",
    "switch": f"passwd:  files {SECRET}\nshadow: files\nhosts: files dns\n",
    "list": f"- {SECRET}\n",
    "broken": f"user: {{{SECRET}\n  *{SECRET} @\n",
    "twice": f"{SECRET}: 1\n{SECRET}: 2\n",
    "tags": f"a: !{SECRET} b\nb: *{SECRET}\n",
    "binary": f"\x00\x01{SECRET}",
    "latin": f"{SECRET}\udcff",
    "long": SECRET * 20_000,
    "wrong values": f"host: {SECRET}\nport: {SECRET}\nsource: x\n",
}
WHOLE = "model: gan\ndata: {source: digits}\n"


def said(path: Path, **options: bool) -> str:
    """The message about a recipe, which has one."""
    with pytest.raises(UserError) as caught:
        models.validate(reading.read(path, **options))
    assert caught.value.status == 2 and all(line.isprintable() for line in caught.value.lines)
    return "\n".join(caught.value.lines)


@pytest.mark.parametrize("whole", [WHOLE, "", "model: gann\n"], ids=["sound", "empty", "wrong"])
@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_of_a_file_that_is_no_recipe_is_quoted(name: str, whole: str, tmp_path: Path) -> None:
    foreign = tmp_path / "elsewhere"
    foreign.write_bytes(FOREIGN[name].encode(errors="surrogateescape"))
    (tmp_path / "recipe.yaml").write_text(f"extends: {foreign}\n{whole}")
    message = said(tmp_path / "recipe.yaml")
    assert SECRET not in message and str(foreign) in message


@pytest.mark.parametrize("name", ["shadow", "mapping", "switch", "twice", "wrong values"])
def test_nor_of_one_that_was_named_by_mistake(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(FOREIGN[name])
    message = said(tmp_path / "file")
    assert SECRET not in message and ("no recipe: few of its names" in message or "expected `key: value`" in message)


def test_a_recipe_extends_shipped_ones_by_name(tmp_path: Path) -> None:
    own, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    own.write_text("extends: gan-digits\ntrain: {steps: 5}\n")
    settings = models.validate(reading.read(own))
    assert settings.train.steps == 5 and settings.data.source == "digits"
    other.write_text("extends: gan-digit\n")
    assert "did you mean 'gan-digits'?" in said(other)
    (tmp_path / "gan-digits").write_text(WHOLE + "train: {steps: 7}\n")
    assert models.validate(reading.read(own)).data.image_size == 64, "a file of that name comes first"


# Where a recipe that the user did not name himself points to, and whether it may be read.
PLACES = {
    "base.yaml": True,
    "below/base.yaml": True,
    "./below/../base.yaml": True,
    "gan-digits": True,
    "../base.yaml": False,
    "{outside}/base.yaml": False,
    "link.yaml": False,
    "folder/base.yaml": False,
    "/etc/hostname": False,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["extended", "found"])
def test_a_recipe_that_the_user_did_not_name_stays_in_its_folder(how: str, place: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "below").mkdir(parents=True)
    for folder in (tmp_path, inside, inside / "below"):
        (folder / "base.yaml").write_text(WHOLE)
    (inside / "link.yaml").symlink_to(tmp_path / "base.yaml")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "recipe.yaml").write_text(f"extends: {place.format(outside=tmp_path)}\n")
    named = inside / "recipe.yaml"
    if how == "extended":
        named = tmp_path / "own.yaml"
        named.write_text("extends: inside/recipe.yaml\n")
    if PLACES[place]:
        assert models.validate(reading.read(named, found=how == "found")).model == "gan"
    else:
        assert "leaves the folder of this recipe" in said(named, found=how == "found")
        assert how == "extended" or place == "/etc/hostname" or models.validate(reading.read(named)), "named, it may"


@pytest.mark.parametrize("count", [21, 1200])
def test_a_long_chain_of_recipes_is_a_mistake(count: int, tmp_path: Path) -> None:
    for n in range(count):
        (tmp_path / f"{n}.yaml").write_text(f"extends: {n + 1}.yaml\n")
    (tmp_path / f"{count}.yaml").write_text(WHOLE)
    assert "extends: more than 20 recipes, each of which extends the next" in said(tmp_path / "0.yaml")
    assert models.validate(reading.read(tmp_path / f"{count - 19}.yaml")).model == "gan"


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to a pipe", "link to nothing", "link to itself"])
def test_what_is_no_regular_file_is_not_waited_for(kind: str, extended: bool, gancli, tmp_path: Path) -> None:
    odd = tmp_path / "odd.yaml"
    match kind:
        case "pipe":
            os.mkfifo(odd)
        case "device":
            odd.symlink_to("/dev/zero")
        case "folder":
            odd.mkdir()
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            odd.symlink_to(tmp_path / "pipe")
        case "link to nothing":
            odd.symlink_to(tmp_path / "nothing")
        case _:
            odd.symlink_to(odd)
    (tmp_path / "own.yaml").write_text("extends: odd.yaml\n")
    done = gancli("validate", tmp_path / "own.yaml" if extended else odd)
    assert done.status == 2 and done.err.count("\n") == 1 and "odd.yaml" in done.err


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_only_yaml_s_own_line_breaks_break_lines(character: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"# a comment{character}latent_dim: 3\n{WHOLE}bogus: 1\n")
    assert f"{path}:4:1: bogus: unknown key" in said(path)
    path.write_text(f"# a comment{character}latent_dim: 3\n{WHOLE}")
    assert models.validate(reading.read(path)).latent_dim == 100
    if character == "\x85":
        return  # as a control character it may stand in no value
    for quote in ("", '"', "'"):
        path.write_text(f"model: gan\ndata: {{source: {quote}one{character}two{quote}}}\n")
        settings = models.validate(reading.read(path))
        assert settings.data.source == f"one{character}two"
        again = reading.dump(settings)
        assert models.validate(reading.parse(again, "again")) == settings


def test_spare_characters_are_kept(tmp_path: Path) -> None:
    text = "\U000f0000\u2028\U000f0001"
    assert reading.parse(f'a: "{text}"', "here").values == {"a": text}


def test_values_of_options_are_never_lost_silently(gancli) -> None:
    for sets in (["train.steps=5", "train.steps=6"], ["train={steps: 5}", "train.steps=6"], ["betas=[0,0]", "betas=3"]):
        done = gancli("train", "gan-digits", "--dry-run", *(w for text in sets for w in ("--set", text)))
        key = "betas" if "betas" in sets[0] else "train.steps"
        line = f"--set {sets[1]}: {key}: given twice, first by --set {sets[0]}: give it once\n"
        assert (done.status, done.out, done.err) == (2, "", line)
    done = gancli(
        "train", "gan-digits", "--dry-run", "--set", "train={seed: 5}", "--set", "train.steps=6", "--set", "r1=2"
    )
    assert done.status == 0 and "steps: 6\n" in done.out and "seed: 5\n" in done.out


@pytest.mark.parametrize(
    "option", ["a." * 5000 + "b=1", "train.steps=" + "9" * 5000, "train.steps=" + "[" * 5000, "learning_rate=1e300"]
)
def test_extreme_options_are_mistakes_in_words(option: str, gancli) -> None:
    done = gancli("train", "gan-digits", "--dry-run", "--set", option)
    assert done.status == 2 and not done.out and done.err.count("\n") == 1 and "Traceback" not in done.err
    assert len(done.err) < 5000
