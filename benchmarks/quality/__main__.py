"""Does a detector rank defects better than what needs no trained network, on pictures it has not seen?

    python -m benchmarks.quality [sets=mono,poly] [splits=group,random] [tasks=reconstruction] [minutes=5] [seeds=0]
        [out=quality.jsonl]

Four folds, each tested by a detector that is trained on normal pictures of the three others: by group, and at random,
since one split is a lottery. AUROC is the mean over the folds. Its interval, and that of its difference to the best
that principal components reach, are bootstraps of whole groups in the same resamples; "better" means that the interval
of the difference lies above 0. Of principal components (four scores by 8, 16, 32 and 64 components) and of the
statistics of a picture (either way up) the best is picked by the test pictures themselves, in favour of the floor, and
has a star.

Finished cells stay in `out`: the same command goes on where it was ended, and prints the tables of what is there.
`minutes` are CPU-minutes a training. `tasks` are detectors or the first part of their names; floors always run.
"""

import itertools
import sys

from benchmarks.quality.cells import CellFile, Plan, fill
from benchmarks.quality.data import USUAL, PictureSet, load
from benchmarks.quality.detectors import FLOORS
from benchmarks.quality.folds import FOLDS, SPLITS, split
from benchmarks.quality.table import TITLES, rank, title
from benchmarks.quality.trained import DETECTORS
from rayae.errors import ConfigError, DataError, RayaeError
from rayae.terminal import say, show_table

DEFAULTS = {
    "sets": ",".join(USUAL),
    "splits": ",".join(SPLITS),
    "tasks": "",
    "minutes": "5",
    "seeds": "0",
    "out": "quality.jsonl",
}
SPLIT_SEED = 0


def read_words(words: list[str]) -> dict[str, str]:
    """The settings; ConfigError for a word that is none."""
    given = dict(word.partition("=")[::2] for word in words)
    unknown = sorted({*given} - {*DEFAULTS})
    if unknown:
        raise ConfigError(f"there is no setting {', '.join(unknown)}; there are {', '.join(DEFAULTS)}.")
    return DEFAULTS | given


def choose(tasks: str) -> list[str]:
    """The floors, and the detectors that are asked for; ConfigError for a name that fits none."""
    wanted = [task for task in tasks.split(",") if task]
    fits = {task: [name for name in DETECTORS if name == task or name.split("/")[0] == task] for task in wanted}
    missing = [task for task, names in fits.items() if not names]
    if missing:
        raise ConfigError(f"there is no detector {', '.join(missing)}; there are {', '.join(DETECTORS)}.")
    return list(dict.fromkeys([*FLOORS, *itertools.chain(*fits.values())]))


def splits_of(pictures: PictureSet, asked: str) -> list[str]:
    """The splits that are asked for and mean something: without groups there is the random one only."""
    kinds = asked.split(",")
    unknown = sorted({*kinds} - {*SPLITS})
    if unknown:
        raise ConfigError(f"there is no split {', '.join(unknown)}; there are {', '.join(SPLITS)}.")
    return [kind for kind in kinds if kind == "random" or pictures.groups is not None]


def plan_set(pictures: PictureSet, kind: str, asked: dict[str, str]) -> list[Plan]:
    """The cells of one set and split; floors have no minutes, and one seed."""
    plans = []
    for detector in choose(asked["tasks"]):
        is_floor = detector in FLOORS
        seeds = [0] if is_floor else [int(seed) for seed in asked["seeds"].split(",")]
        minutes = 0.0 if is_floor else float(asked["minutes"])
        for seed, fold in itertools.product(seeds, range(FOLDS)):
            plans.append(Plan(pictures.name, pictures.digest, kind, fold, detector, seed, minutes))
    return plans


def run_set(pictures: PictureSet, kind: str, asked: dict[str, str], file: CellFile) -> list[list[str]]:
    """Fill the cells of one set and split that are not there yet, and give the rows of the table."""
    sides = split(pictures.is_defect, pictures.groups, kind, SPLIT_SEED)[1]
    cells, plans = file.read(), plan_set(pictures, kind, asked)
    for plan in plans:
        if plan not in cells:
            cells[plan] = fill(plan, pictures, sides[plan.fold], DETECTORS[plan.detector])
            file.append(cells[plan])
            took = f"{cells[plan].cpu_minutes:.2f} CPU minutes"
            say(f"{plan.set}, {kind}: fold {plan.fold} of {plan.detector}, seed {plan.seed}, {took}")
    return rank(pictures, kind, [cells[plan] for plan in plans], SPLIT_SEED)


def run(words: list[str]) -> None:
    """The cells and the table of each set and split; a set whose files are not here is left out with a sentence."""
    asked = read_words(words)
    choose(asked["tasks"])
    file = CellFile(asked["out"])
    for name in asked["sets"].split(","):
        try:
            pictures = load(name)
        except DataError as error:
            say(f"{name} is left out: {error}")
            continue
        for kind in splits_of(pictures, asked["splits"]):
            show_table(title(pictures, kind), TITLES, run_set(pictures, kind, asked, file))


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except RayaeError as error:
        sys.exit(f"error: {error}")
