"""`rayae demo`: the whole line on real photographs of solar cells."""

from rayae import storage
from rayae.settings import (
    DemoSettings,
    DriftSettings,
    EvaluateSettings,
    IndexSettings,
    PreprocessSettings,
    ReportSettings,
    ScoreSettings,
    TrainSettings,
    VerifySettings,
)
from rayae.solar_cells import LICENCE, fetch, write_labels
from rayae.terminal import say
from rayae.verbs.drift import drift
from rayae.verbs.evaluate import evaluate
from rayae.verbs.index import index
from rayae.verbs.report import report
from rayae.verbs.score import score
from rayae.verbs.train import train
from rayae.verbs.verify import verify

EPOCHS = 8


def demo(settings: DemoSettings) -> None:
    """Fetch the photographs, then index, train, calibrate, score, verify, evaluate, look for drift and report."""
    out = storage.absolute(settings.out)
    manifest, bundle, run = (storage.join(out, name) for name in ("manifest.parquet", "bundle", "run"))
    say(LICENCE)
    images = fetch(settings.cache)
    labels = write_labels(images, storage.join(out, "labels.csv"))
    _title("index")
    index(IndexSettings(images=images, labels=labels, out=manifest))
    _title("train and calibrate")
    train(
        TrainSettings(
            images=manifest,
            out=bundle,
            epochs=settings.epochs or EPOCHS,
            workers=settings.workers,
            placement=settings.placement,
            preprocess=PreprocessSettings(mode="grey"),
        )
    )
    _title("score")
    workers, placement = settings.workers, settings.placement
    score(ScoreSettings(images=manifest, bundle=bundle, out=run, workers=workers, placement=placement))
    _title("verify")
    verify(VerifySettings(run=run))
    _title("evaluate")
    evaluate(EvaluateSettings(run=run))
    _title("drift")
    drift(DriftSettings(run=run))
    _title("report")
    report(ReportSettings(run=run))
    say(f"Parquet: {storage.join(run, 'chunks')}")


def _title(verb: str) -> None:
    say(f"\n--- {verb} ---")
