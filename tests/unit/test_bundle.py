"""A trained model as a directory: what goes in comes out, and whatever was touched is refused."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from rayae import storage
from rayae.bundle import BUNDLE, CARD, TRAINING, TRAINING_IMAGES, WEIGHTS, Bundle, Choice, bundle_id, calibrated, seal
from rayae.errors import BundleError, ConfigError
from rayae.preprocess import Preprocess
from rayae.scores import PICTURE_SCORES
from rayae.threshold import conformal, fixed
from tests.unit.small_things import DETECTOR, GREY, NETWORK, small_bundle, small_weights
from tests.unit.small_things import TRAINING as RECORD
from tests.unit.small_things import TRAINING_IMAGES as IMAGES

SCORES = np.linspace(0.4, 0.1, 40, dtype=np.float32)


def calibration_table(scores=SCORES):
    names = [f"{number}.png" for number in range(len(scores))]
    return pa.table({"uri": names, "group": names, "mse": scores, "score": scores, "chose_score": [False] * len(names)})


def cut_of(bundle, scores=SCORES, **changed):
    about = {"score": bundle.primary_score, "bundle_id": bundle.bundle_id} | changed
    return conformal(scores, alpha=0.1, groups=40, **about)


def with_threshold(bundle, scores=SCORES):
    return calibrated(bundle, calibration_table(scores), cut_of(bundle, scores))


@pytest.fixture
def bundle(tmp_path):
    return small_bundle(tmp_path / "bundle")


@pytest.fixture
def whole(bundle):
    """A bundle with calibration scores and a threshold."""
    return with_threshold(bundle)


def rewrite(bundle, sealed=True, **changed):
    """Change `bundle.json` by hand; `sealed` as somebody would who knows how its hashes are made."""
    record = dict(bundle.record) | changed
    if sealed:
        record["bundle_id"] = bundle_id(record)
        record["seal"] = seal(record)
    storage.write_json(storage.join(bundle.uri, BUNDLE), record)


def refusal(bundle):
    with pytest.raises(BundleError) as refused:
        Bundle.open(bundle.uri)
    return str(refused.value)


def names(bundle):
    return set(storage.list_names(bundle.uri))


def test_what_goes_in_comes_out(bundle):
    opened = Bundle.open(bundle.uri)
    assert (opened.network, opened.preprocess, opened.scores) == (NETWORK, GREY, PICTURE_SCORES)
    assert opened.detector == DETECTOR
    assert (opened.primary_score, opened.precision, opened.training) == ("mse", "float32", RECORD)
    assert opened.weights() == small_weights()
    assert opened.training_images().equals(IMAGES)
    assert (opened.threshold, opened.calibration, opened.calibration_table()) == (None, None, None)
    assert opened.record == bundle.record


def test_a_threshold_and_calibration_scores_come_out_as_they_went_in(bundle):
    threshold = cut_of(bundle)
    calibrated(bundle, calibration_table(), threshold)
    opened = Bundle.open(bundle.uri)
    assert opened.threshold == threshold
    assert opened.calibration_table().equals(calibration_table())
    assert opened.calibration.dtype == np.float32
    np.testing.assert_array_equal(opened.calibration, np.sort(SCORES))


def test_a_bundle_may_be_moved(whole, tmp_path):
    shutil.move(whole.uri, tmp_path / "elsewhere")
    assert Bundle.open(str(tmp_path / "elsewhere")).threshold == cut_of(whole)


def test_a_bundle_may_lie_on_any_storage():
    bundle = with_threshold(small_bundle("memory://models/bundle"))
    assert Bundle.open("memory://models/bundle").record == bundle.record


def test_a_relative_path_stays_true_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = small_bundle("bundle")
    monkeypatch.chdir("/")
    assert bundle.weights() == small_weights()


def test_nothing_in_a_bundle_is_a_pickle_or_an_archive(whole):
    found = {name: storage.read_bytes(storage.join(whole.uri, name)) for name in names(whole)}
    kinds = {name.rpartition(".")[2] for name in found}
    assert kinds == {"json", "safetensors", "parquet", "md"}
    for name, data in found.items():
        if name.endswith(".parquet"):
            assert data[:4] == data[-4:] == b"PAR1"
        elif name.endswith(".safetensors"):
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        else:
            data.decode("ascii")
        assert not data.startswith((b"PK", b"\x80"))


def test_a_new_bundle_is_not_written_over_another(bundle):
    words = f"{bundle.uri} holds a bundle already; write the new one into another directory, or remove it."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        small_bundle(bundle.uri)


def test_a_bundle_whose_writing_was_cut_short_is_none(tmp_path):
    with pytest.raises(KeyError):
        small_bundle(tmp_path / "cut", training={"images": {}})
    assert not Bundle.exists(str(tmp_path / "cut"))


def test_where_there_is_no_bundle_the_sentence_says_how_to_make_one(tmp_path):
    uri = str(tmp_path / "nothing")
    words = f"{uri} is no bundle: it has no bundle.json; `rayae train images=... out={uri}` makes one."
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        Bundle.open(uri)


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, TRAINING_IMAGES, "calibration", "threshold"])
def test_a_changed_byte_in_a_file_is_told(whole, name):
    name = whole.record.get(name) or name
    uri = storage.join(whole.uri, name)
    data = storage.read_bytes(uri)
    for at in (0, len(data) // 2, len(data) - 1):
        storage.write_bytes(uri, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert re.fullmatch(
            rf"{re.escape(uri)} was changed after the bundle was written: its SHA-256 is [0-9a-f]{{12}}, "
            rf"bundle\.json says {whole.record['files'][name][:12]}; take an undamaged copy of the bundle\.",
            refusal(whole),
        )


def test_a_changed_byte_anywhere_in_bundle_json_is_told(whole):
    uri = storage.join(whole.uri, BUNDLE)
    data = storage.read_bytes(uri)
    random = np.random.default_rng(0)
    for at in range(len(data)):
        changed = data[at] ^ (1 << int(random.integers(8)))
        storage.write_bytes(uri, data[:at] + bytes([changed]) + data[at + 1 :])
        assert refusal(whole).endswith(".")


@pytest.mark.parametrize("bytes_kept", [0, 1, 100, -2])
def test_a_cut_bundle_json_is_told(bundle, bytes_kept):
    uri = storage.join(bundle.uri, BUNDLE)
    storage.write_bytes(uri, storage.read_bytes(uri)[:bytes_kept])
    assert refusal(bundle).startswith(f"{bundle.uri} cannot be opened: {uri} is not valid JSON (")


@pytest.mark.parametrize("text", ["null", "[]", "[1]", "3", '"x"', "{}", "[" * 100_000, '{"schema_version": 4}'])
def test_a_bundle_json_of_another_shape_is_told(bundle, text):
    storage.write_text(storage.join(bundle.uri, BUNDLE), text)
    assert refusal(bundle).startswith(f"{bundle.uri}: bundle.json is damaged (")


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, TRAINING_IMAGES, "calibration", "threshold"])
def test_a_missing_file_is_told(whole, name):
    uri = storage.join(whole.uri, whole.record.get(name) or name)
    storage.remove(uri)
    assert refusal(whole) == (
        f"the bundle lacks a file that it names: cannot read {uri}: there is no such file or directory."
    )


def test_files_are_verified_again_when_they_are_read(whole):
    opened = Bundle.open(whole.uri)
    for name in whole.record["files"]:
        storage.write_bytes(storage.join(whole.uri, name), b"another")
    for read in (opened.weights, opened.training_images, opened.calibration_table):
        with pytest.raises(BundleError, match="was changed after the bundle was written"):
            read()
    for name in ("training", "calibration"):
        with pytest.raises(BundleError, match="was changed after the bundle was written"):
            getattr(opened, name)


@pytest.mark.parametrize(
    "changed",
    [{"primary_score": "mae"}, {"precision": "bf16"}, {"created": "yesterday"}, {"scores": ["mse"]}, {"author": "me"},
     {"preprocess": GREY.to_dict() | {"height": 64}}, {"network": NETWORK | {"kind": "os.system"}},
     {"detector": DETECTOR | {"task": "repair"}}],
)  # fmt: skip
def test_a_value_changed_by_hand_is_told(whole, changed):
    rewrite(whole, sealed=False, **changed)
    assert refusal(whole) == (
        f"{whole.uri}/bundle.json was changed after it was written: its hash is another; "
        "take an undamaged copy of the bundle."
    )


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "sub/weights.bin", "model.pt", ".", "", "s3://x/y"]
)
def test_a_file_outside_or_unknown_is_refused_before_it_is_read(bundle, name):
    rewrite(bundle, files=bundle.record["files"] | {name: "0" * 64})
    words = f"{bundle.uri}/bundle.json names {name!r}, which is no file of a bundle; do not use this bundle."
    assert refusal(bundle) == words


@pytest.mark.parametrize("kind", ["threshold", "calibration"])
@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "{}-0123456789ab.json/../x", WEIGHTS, "{}-0.json\n"]
)
def test_a_threshold_or_calibration_that_leads_out_is_refused(whole, kind, name):
    name = name.format(kind)
    rewrite(whole, **{kind: name, "files": whole.record["files"] | {name: "0" * 64}})
    words = f"{whole.uri}/bundle.json names {name!r}, which is no file of a bundle; do not use this bundle."
    assert refusal(whole) == words


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, TRAINING_IMAGES, "calibration", "threshold"])
def test_a_file_without_a_hash_is_refused(whole, name):
    name = whole.record.get(name) or name
    files = {known: digest for known, digest in whole.record["files"].items() if known != name}
    record = dict(whole.record) | {"files": files}
    storage.write_json(storage.join(whole.uri, BUNDLE), record)
    assert refusal(whole) == f"{whole.uri}/bundle.json has no hash of {name}; take an undamaged copy of the bundle."


@pytest.mark.parametrize("version", [0, 1, "2", None, [2]])
def test_another_schema_version_is_refused(bundle, version):
    rewrite(bundle, schema_version=version)
    assert refusal(bundle) == (
        f"{bundle.uri} has the schema version {version!r}, and this rayae reads 4; "
        "open it with the version of rayae that wrote it, or train again."
    )


@pytest.mark.parametrize(
    "changed",
    [{"preprocess": {"mode": "grey"}}, {"preprocess": GREY.to_dict() | {"mode": "cmyk"}}, {"preprocess": None},
     {"preprocess": GREY.to_dict() | {"run": "code"}}, {"scores": None}, {"primary_score": "no score"},
     {"choice": None}, {"choice": {"score": "mae", "reason": "", "auroc": {}}}, {"choice": {"score": "mse"}},
     {"network": None}, {"network": ["unet"]}, {"detector": None}, {"detector": "copy"},
     {"detector": [["task", "copy"]]}],
)  # fmt: skip
def test_values_that_no_version_writes_are_refused_even_with_right_hashes(bundle, changed):
    rewrite(bundle, **changed)
    assert refusal(bundle).startswith(bundle.uri)


@pytest.mark.parametrize("changed", [{"bundle_id": "0123456789ab"}, {"score": "mae"}])
def test_a_threshold_of_another_bundle_or_score_is_refused(bundle, changed):
    threshold = cut_of(bundle, **changed)
    with pytest.raises(BundleError) as refused:
        calibrated(bundle, calibration_table(), threshold)
    assert str(refused.value) == (
        f"the threshold is a cut on {threshold.score} of the bundle {threshold.bundle_id}, and this is the bundle "
        f"{bundle.bundle_id} with the primary score mse; calibrate it again."
    )
    assert Bundle.open(bundle.uri).record == bundle.record


def test_another_primary_score_does_not_keep_the_cut_of_the_former(whole):
    rewrite(whole, primary_score="mae", choice=Choice("mae", "as asked", {}).to_dict())
    assert "and this is the bundle" in refusal(whole)


def test_labelled_defects_are_kept_beside_the_normal_scores_and_set_no_cut(bundle):
    table = calibration_table()
    strange = table.set_column(4, "chose_score", pa.array([row < 10 for row in range(len(SCORES))]))
    known = calibrated(bundle, strange, None)
    assert known.calibration_table().num_rows == len(SCORES)
    assert known.calibration.tolist() == sorted(SCORES[10:].tolist())


def test_a_choice_replaces_the_primary_score_and_what_spoke_for_the_former(bundle):
    scores = calibration_table()["score"].to_numpy()
    cut = conformal(scores, alpha=0.1, groups=40, score="mae", bundle_id=bundle.bundle_id)
    choice = Choice("mae", "which ranks 12 labelled defects above 40 normal images with an AUROC of 0.900",
                    {"mae": 0.9, "mse": 0.8})  # fmt: skip
    changed = Bundle.open(calibrated(bundle, calibration_table(), cut, choice).uri)
    assert (changed.primary_score, changed.choice, changed.bundle_id) == ("mae", choice, bundle.bundle_id)
    assert choice.in_words() in storage.read_bytes(storage.join(changed.uri, "CARD.md")).decode()


def test_the_id_stays_when_the_bundle_is_calibrated(bundle):
    assert with_threshold(bundle).bundle_id == bundle.bundle_id == Bundle.open(bundle.uri).bundle_id


def test_the_id_depends_on_the_content_alone(bundle, tmp_path):
    assert small_bundle(tmp_path / "again", training=RECORD | {"best_epoch": 4}).bundle_id == bundle.bundle_id


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": small_weights(1)},
        {"network": NETWORK | {"latent": 5}},
        {"detector": DETECTOR | {"latent": 4}},
        {"preprocess": Preprocess("grey", 32, 48)},
        {"preprocess": Preprocess("grey", 32, 32, exif="ignore")},
        {"preprocess": Preprocess("grey", 32, 32, max_pixels=1000)},
        {"scores": ("mse", "mae")},
        {"precision": "bf16"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_id_changes_with_whatever_changes_a_score(bundle, tmp_path, changed):
    assert small_bundle(tmp_path / "other", **changed).bundle_id != bundle.bundle_id


def test_calibrating_again_takes_the_place_of_the_former_and_removes_its_files(whole):
    again = with_threshold(whole, SCORES / 2)
    assert names(again) == {BUNDLE, CARD, *again.record["files"]}
    assert again.record["threshold"] != whole.record["threshold"]
    assert again.record["calibration"] not in names(whole) - names(again)
    np.testing.assert_array_equal(Bundle.open(whole.uri).calibration, np.sort(SCORES / 2))


def test_calibrating_again_with_the_same_keeps_its_files(whole):
    again = with_threshold(whole)
    assert again.record == whole.record
    assert Bundle.open(whole.uri).threshold == cut_of(whole)


def test_scores_without_a_cut_and_a_cut_without_scores_can_be_kept(whole):
    calibrated(whole, calibration_table(), None)
    assert Bundle.open(whole.uri).threshold is None
    by_hand = fixed(0.2, score="mse", bundle_id=whole.bundle_id, calibration=None)
    calibrated(Bundle.open(whole.uri), None, by_hand)
    opened = Bundle.open(whole.uri)
    assert (opened.threshold, opened.calibration) == (by_hand, None)
    assert names(opened) == {BUNDLE, CARD, *opened.record["files"]}


def test_when_calibrating_dies_at_any_write_the_bundle_is_the_old_or_the_new(whole, monkeypatch):
    old, write = whole.record, storage.write_bytes
    for deadly in range(5):
        writes = iter(range(100))

        def dying(uri, data, deadly=deadly, writes=writes):
            if next(writes) == deadly:
                raise KeyboardInterrupt
            write(uri, data)

        monkeypatch.setattr(storage, "write_bytes", dying)
        try:
            new = with_threshold(Bundle.open(whole.uri), SCORES / (deadly + 2)).record
        except KeyboardInterrupt:
            new = None
        monkeypatch.setattr(storage, "write_bytes", write)
        found = Bundle.open(whole.uri).record
        assert found == new or new is None
        assert deadly > 1 or found == old


def test_the_card_says_what_is_true(whole):
    text = storage.read_bytes(storage.join(whole.uri, CARD)).decode()
    threshold = cut_of(whole)
    assert f"# Bundle {whole.bundle_id}\n" in text
    assert "- Input: grey, 32 x 32 pixels.\n" in text
    assert "- Trained on 1,200 normal images; 7 others chose the epoch, 3 of 5.\n" in text
    assert f"- Scores: {', '.join(PICTURE_SCORES)}. The network computes in float32.\n" in text
    assert "- Primary score: mse, as asked.\n" in text
    assert "- Task: copy, by a network of the kind convolutional.\n" in text
    assert f"- Threshold: mse above {threshold.cut:.6g} is an anomaly (`threshold_id` {threshold.id}). " in text
    assert f"{threshold.guarantee}\n" in text


def test_the_card_of_a_bundle_without_a_threshold_says_how_to_get_one(bundle):
    text = storage.read_bytes(storage.join(bundle.uri, CARD)).decode()
    assert "- Threshold: none; `rayae calibrate` chooses one.\n" in text


def test_a_person_may_write_on_the_card(bundle):
    storage.write_text(storage.join(bundle.uri, CARD), "For line 3 only.")
    assert Bundle.open(bundle.uri).record == bundle.record


def test_opening_a_bundle_needs_neither_torch_nor_ray_and_the_process_ends_well(whole):
    code = (
        "import sys; from rayae.bundle import Bundle; bundle = Bundle.open(sys.argv[1]); "
        "bundle.threshold, bundle.calibration, bundle.training_images(); "
        "sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    )
    for _ in range(3):  # threads of pyarrow that outlive a read kill a process in four
        assert subprocess.run([sys.executable, "-c", code, whole.uri]).returncode == 0
