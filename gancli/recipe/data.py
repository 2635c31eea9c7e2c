"""What a recipe may say about its data, one class for each kind of data (this file imports no torch)."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from gancli.errors import UserError
from gancli.recipe.reading import Settings

Pixels = Annotated[int, Field(gt=0, le=4096)]
ImageSize = Pixels | tuple[Pixels, Pixels]
Coordinate = Annotated[float, Field(ge=-1000, le=1000)]
Deviation = Annotated[float, Field(ge=0.001, le=1000)]
DISTRIBUTIONS = ("gaussian-1d", "mixture-1d", "ring-2d", "grid-2d", "spiral-2d", "lines-2d")
"""The sources that are no images but points, of a distribution that is known exactly."""


def no_boolean(value: object) -> object:
    """For a choice among numbers: to Python, true is 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


class Data(Settings):
    """What every kind of data shares."""

    keys: ClassVar[tuple[str, ...]] = ("image",)
    """The names of a batch's images."""
    paired: ClassVar[bool] = False
    """Whether the images of all keys belong together, place by place."""
    labelled: ClassVar[bool] = False
    """Whether each image must have a domain."""

    source: Annotated[str, Field(json_schema_extra={"not": {"enum": list(DISTRIBUTIONS)}})]
    """Where the images come from: a folder, a .zip of one, idx, .npz or .npy files, the CIFAR-10 archives, a fetched
    set by name (mnist), or a built-in one: digits, shapes (or shapes:500 for that many)."""
    image_size: ImageSize = 64
    """Size in pixels that the networks see: one number for a square, or [height, width]."""
    channels: Annotated[Literal[1, 3, 4], BeforeValidator(no_boolean)] = 3
    """1 gray, 3 RGB, 4 RGB with transparency."""
    crop: Pixels | None = None
    """Side in pixels of the central square cut from each image before it is resized (CelebA: 178)."""
    resize: Literal["cover", "contain", "stretch"] = "cover"
    """How an image of another aspect meets image_size: cover cuts what hangs over, contain pads with the background,
    stretch distorts."""
    background: str = "white"
    """Colour that stands behind transparent pixels and in padding: a name, or #rrggbb."""
    flip: bool = False
    """Mirror half of the training images left to right, at random each time."""
    enlarge: ImageSize | None = None
    """Size that training images are resized to before a random crop of image_size is taken (Pix2Pix and CycleGAN: 286
    for 256)."""
    zoom: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the training images that are zoomed into, at random each time (StarGAN v2: 0.5): a random part of 80
    to 100 % of the area, and of 0.9 to 1.1 of the aspect, fills the image."""
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the images kept for testing where the source has no test split, chosen by a hash of each name."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """What an unreadable image does: stop before training, or be left out and listed."""
    cache_limit: Annotated[float, Field(ge=0)] = 20
    """Size in GiB up to which decoded images are kept in the cache; larger sets are decoded as they are needed."""
    on_device: Literal["auto", "never"] = "auto"
    """Whether a GPU keeps all decoded images in its own memory: for auto where they take at most a quarter of what is
    free there."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return sides(self.image_size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return (self.channels, *self.size)

    @property
    def training_size(self) -> tuple[int, int]:
        """Height and width in pixels before the random crop."""
        return sides(self.enlarge or self.image_size)

    @property
    def images(self) -> Self:
        """These settings, as they are of images."""
        return self

    @property
    def points(self) -> "Distribution | None":
        """The distribution of points; None, as these data are images."""
        return None

    @property
    def matched(self) -> bool:
        """Whether the images in the same place belong together, or there is only one in each place."""
        return self.paired or len(self.keys) == 1

    @property
    def has_attributes(self) -> bool:
        """Whether an image has attributes, each true or false, instead of one class."""
        return False

    @property
    def halves(self) -> int:
        """Images side by side in each file."""
        return 1

    @property
    def turned_round(self) -> bool:
        """Whether b is the input and a the target."""
        return False

    def forwards(self) -> Self:
        """The same data with a as the input."""
        return self

    @field_validator("source")
    @classmethod
    def _holds_images(cls, source: str) -> str:
        if source in DISTRIBUTIONS:
            raise ValueError(f"{source} gives points, which this family does not learn: take the family gan or wgan")
        return source

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(background)
        except ValueError:
            raise ValueError(f"expected a colour name or #rrggbb, not {background}") from None
        return background

    @model_validator(mode="after")
    def _enlarges(self) -> Self:
        if any(large < small for large, small in zip(self.training_size, self.size, strict=True)):
            raise ValueError(f"enlarge: expected at least image_size ({self.image_size}): the crop is taken from it")
        return self


class Images(Data):
    """Images, with labels where the source has them."""

    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the labels; found in the data where left out and wanted."""


class Pairs(Data):
    """Images that belong together two by two: the input and what it should become."""

    keys = ("a", "b")
    paired = True
    domains: ClassVar[tuple[str, str]] = ("A", "B")
    """Names of the folders that hold a and b, for layout: folders."""

    layout: Literal["side-by-side", "folders"] = "side-by-side"
    """side-by-side: each file holds A on its left half and B on its right; folders: source holds A, source_b holds B
    (or source holds a folder A and a folder B), matched by name whatever the extension."""
    source_b: str | None = None
    """Where the B images are, for layout: folders."""
    direction: Literal["a-to-b", "b-to-a"] = "a-to-b"
    """Which half is the input."""

    @property
    def halves(self) -> int:
        """Images side by side in each file."""
        return 2 if self.layout == "side-by-side" else 1

    @property
    def turned_round(self) -> bool:
        """Whether b is the input and a the target."""
        return self.direction == "b-to-a"

    def forwards(self) -> Self:
        """The same data with a as the input."""
        return self.model_copy(update={"direction": "a-to-b"})

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        if self.source_b is not None and self.layout != "folders":
            raise ValueError("source_b: is for `layout: folders`: set it, or leave source_b out")
        return self


class Unpaired(Data):
    """Two domains of images that need not match: trainA and trainB below one source, or two sources."""

    keys = ("a", "b")

    domains: tuple[str, str] = ("A", "B")
    """Names of the folders that hold domain A and domain B below source, as in [Orange, Lemon]."""
    source_b: str | None = None
    """Where domain B is, if not beside A below source."""

    @model_validator(mode="after")
    def _two_domains(self) -> Self:
        if self.domains[0] == self.domains[1]:
            raise ValueError(f"domains: expected two names, not twice {self.domains[0]}")
        return self


class Domains(Data):
    """Images with a domain each: a folder for every domain."""

    labelled = True

    classes: tuple[str, ...] = ()
    """Names of the domains, in the order of the labels; found in the data where left out."""

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of what an image can be, in the order of the labels; empty before they were found in the data."""
        return self.classes


class Labelled(Domains):
    """Images with a domain each (class folders), or with attributes that each are true or false."""

    attributes: tuple[str, ...] | None = None
    """The attributes to learn, by name, from the attribute file; null takes class folders as domains."""
    attribute_file: str | None = None
    """CelebA's list_attr_celeba.txt or a CSV with a column for the file name; null looks for it in the source."""

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the attributes or, where there are none, of the classes."""
        return self.attributes or self.classes

    @property
    def has_attributes(self) -> bool:
        """Whether an image has attributes, each true or false, instead of one class."""
        return bool(self.attributes)

    @model_validator(mode="after")
    def _names_attributes(self) -> Self:
        if self.attribute_file is not None and not self.attributes:
            raise ValueError("attributes: is required with attribute_file, as in [Male, Smiling]")
        return self


class Distribution(Settings):
    """Points of a distribution that is known exactly, drawn without end: what a GAN learns can be compared with it."""

    source: str
    """The distribution's name."""

    @property
    def points(self) -> "Distribution":
        """The distribution of points."""
        return self

    @property
    def images(self) -> Data:
        """No settings of images.

        Raises:
            UserError: these data are points.
        """
        raise UserError(f"{self.source}: points, not images: gancli evaluate RUN measures them exactly")

    @property
    def shape(self) -> tuple[int, ...]:
        """How many coordinates a point has."""
        return (1,) if self.source.endswith("-1d") else (2,)


class Gaussian(Distribution):
    """Numbers, normally distributed."""

    source: Literal["gaussian-1d"]
    """One normal distribution on the line."""
    mean: Coordinate = 4
    """Its mean."""
    deviation: Deviation = 1
    """Its standard deviation."""


class Mixture(Distribution):
    """Numbers of several normal distributions."""

    source: Literal["mixture-1d"]
    """Several normal distributions on the line."""
    means: Annotated[tuple[Coordinate, ...], Field(min_length=1, max_length=100)] = (-3, 0, 3)
    """The mean of each."""
    deviations: tuple[Deviation, ...] = (0.5, 0.5, 0.5)
    """The standard deviation of each."""
    weights: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = (1, 1, 1)
    """How likely each is, beside the others; they need not sum to 1."""

    @model_validator(mode="after")
    def _says_each(self) -> Self:
        for name in ("deviations", "weights"):
            if len(getattr(self, name)) != len(self.means):
                raise ValueError(f"{name}: expected as many as there are means ({len(self.means)})")
        return self


class Ring(Distribution):
    """Points of equally likely normal distributions whose centres stand evenly on a circle around the origin."""

    source: Literal["ring-2d"]
    """Round normal distributions in a ring."""
    modes: Annotated[int, Field(ge=1, le=100)] = 8
    """How many there are."""
    radius: Annotated[float, Field(gt=0, le=1000)] = 2
    """Radius of the ring."""
    deviation: Deviation = 0.05
    """Standard deviation of each, in every direction."""


class Grid(Distribution):
    """Points of equally likely normal distributions whose centres stand in a square grid around the origin."""

    source: Literal["grid-2d"]
    """Round normal distributions in a square grid."""
    side: Annotated[int, Field(ge=1, le=10)] = 5
    """How many there are along each side."""
    spacing: Annotated[float, Field(gt=0, le=1000)] = 1
    """Distance between the centres of neighbours."""
    deviation: Deviation = 0.05
    """Standard deviation of each, in every direction."""


class Spiral(Distribution):
    """Points of 100 equally likely normal distributions whose centres stand evenly along a spiral from the origin."""

    source: Literal["spiral-2d"]
    """A spiral, thick as a normal distribution is."""
    turns: Annotated[float, Field(gt=0, le=10)] = 2
    """How often it turns around the origin."""
    radius: Annotated[float, Field(gt=0, le=1000)] = 2
    """Distance of its end from the origin."""
    deviation: Deviation = 0.05
    """Standard deviation around each place on the spiral, in every direction."""


class Lines(Distribution):
    """Points (θ, Z), where Z is uniform on [0, 1]: a segment that shares no point with the same one at (0, Z).

    Arjovsky et al. 2017, example 1: between the two, JS is log 2 whatever θ is, unless it is 0, but W is |θ|.
    """

    source: Literal["lines-2d"]
    """A vertical segment of length 1, parallel to the one at the origin."""
    theta: Coordinate = 1
    """Distance of the segment from the one at the origin."""


def kind(data: Any) -> str:
    """The tag of the class that describes data: the name of a distribution, or images."""
    source = data.get("source") if isinstance(data, dict) else getattr(data, "source", None)
    return source if isinstance(source, str) and source in DISTRIBUTIONS else "images"


Points = (
    Annotated[Gaussian, Tag("gaussian-1d")]
    | Annotated[Mixture, Tag("mixture-1d")]
    | Annotated[Ring, Tag("ring-2d")]
    | Annotated[Grid, Tag("grid-2d")]
    | Annotated[Spiral, Tag("spiral-2d")]
    | Annotated[Lines, Tag("lines-2d")]
)
ImagesOrPoints = Annotated[Annotated[Images, Tag("images")] | Points, Discriminator(kind)]


def sides(size: ImageSize) -> tuple[int, int]:
    """Height and width in pixels."""
    return size if isinstance(size, tuple) else (size, size)


def multiple_of(size: ImageSize, factor: int) -> ImageSize:
    """The size, if each side is 8 pixels or more and a multiple of the factor.

    Raises:
        ValueError: it is not; the nearest sizes are named.
    """
    if any(side % factor or side < 8 for side in sides(size)):
        above, below = ([max(8, (side + more) // factor * factor) for side in sides(size)] for more in (factor - 1, 0))
        nearest = " or ".join(dict.fromkeys("×".join(map(str, near)) for near in (below, above)))
        raise ValueError(f"expected multiples of {factor}, from 8 on: the nearest is {nearest}")
    return size
