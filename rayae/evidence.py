"""Home of the figures that an evaluation finds, by what they speak of."""

from dataclasses import dataclass

from rayae.statistics import Figure


@dataclass(frozen=True)
class Population:
    """How many of the run's images the figures stand on, and why the others do not count."""

    images: int
    unscored: int
    used: int
    """Scored, but the bundle was trained, validated or calibrated with them."""
    unlabelled: int
    of_used_groups: int
    """Scored, labelled and not used, but of a group of which images were used."""
    normal: int
    defect: int
    groups: int | None
    normal_groups: int | None
    defect_groups: int | None
    from_used_groups: int
    """Evaluated all the same, although images of their group were used: without them a class would have no image."""
    trained_on_defects: int
    """Images labelled as defects among those that the network was trained with."""
    calibrated_on_defects: int
    """Images labelled as defects among those that the cut was calibrated on."""
    defect_share: float | None
    reason: str | None


@dataclass(frozen=True)
class ScoreSkill:
    """How well one score ranks defects above normal images."""

    name: str
    auroc: Figure
    average_precision: Figure


@dataclass(frozen=True)
class AtCut:
    """What the cut does: counts of (flagged or not) x (defect or normal), and the rates that follow."""

    cut: float | None
    true_positives: int | None
    false_positives: int | None
    false_negatives: int | None
    true_negatives: int | None
    precision: Figure
    recall: Figure
    false_positive_rate: Figure
    f1: Figure
    flags_that_differ: int | None
    """Evaluated images whose flag in the results is not the one that this cut gives."""
    reason: str | None


@dataclass(frozen=True)
class TradeOff:
    """What another cut would do on the same images."""

    cut: float
    precision: Figure
    recall: Figure
    false_positive_rate: Figure


@dataclass(frozen=True)
class Floor:
    """How well one column of the results that needs no trained network ranks."""

    name: str
    """The column."""
    title: str
    """What it is, and what the defects are taken to be: `mean brightness alone (defects darker)`."""
    auroc: Figure
    """Of a trivial statistic in whichever direction is better."""
    average_precision: Figure
    lead: Figure
    """AUROC of the primary score less this one's; the interval is that of the difference."""
    is_beaten: bool | None
    """Whether that interval lies above 0; None where nobody can say."""


@dataclass(frozen=True)
class Floors:
    """What can be had without a trained network, to hold the figures against; the primary score is not among them."""

    f1_flag_everything: Figure
    average_precision_random: Figure
    trivial: tuple[Floor, ...]
    """The file and its pixels."""
    components: tuple[Floor, ...]
    """The scores of the principal components of the training images."""
    nearest: tuple[Floor, ...]
    """The most similar of the training images."""

    @property
    def all(self) -> tuple[Floor, ...]:
        return (*self.trivial, *self.components, *self.nearest)

    @property
    def best(self) -> dict[str, Floor]:
        """Of each kind, in words, the floor that ranks best, where one can be had.

        Floor and direction are chosen on the images that they are judged on: if it errs, it is against the model.
        """
        kinds = {
            "the best trivial statistic": self.trivial,
            "the best score by principal components": self.components,
            "the nearest training image": self.nearest,
        }
        known = {kind: [f for f in floors if f.auroc.value is not None] for kind, floors in kinds.items()}
        return {kind: max(some, key=lambda f: f.auroc.value or 0.0) for kind, some in known.items() if some}


@dataclass(frozen=True)
class RoleErrors:
    """The primary score of the images of one role."""

    role: str
    images: int
    mean: float | None
    median: float | None
    reason: str | None


@dataclass(frozen=True)
class Overlap:
    """Shares of defects that score no higher than normal images do."""

    below_highest_normal: Figure
    below_95_percent_of_normal: Figure


@dataclass(frozen=True)
class Example:
    uri: str
    label: str | None
    score: float
    flagged: bool | None


@dataclass(frozen=True)
class Examples:
    """Images to look at, each list in the order of how telling it is."""

    highest: tuple[Example, ...]
    lowest_defects: tuple[Example, ...]
    highest_normals: tuple[Example, ...]


@dataclass(frozen=True)
class Review:
    """The images between a cut for review and the cut, which are for a person to look at."""

    defects: int
    normals: int
    recall: Figure
    """Share of the defects that are flagged or for a person."""


@dataclass(frozen=True)
class Decided:
    """The decision of `rayae flag` whose cut is evaluated in place of the run's own."""

    id: str
    chose: int
    """Labelled images that chose its cut: they stay out of all figures."""
    cuts_of_groups: int
    """Groups that have a cut of their own."""
    review: Review | None
    """None where no cut has a band for review."""
