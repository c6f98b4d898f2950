import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae.report import ReportPage, WorstPicture, compose, render
from tests.unit.test_report import asked

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = """<img src=x onerror="document.title='it ran'"><script>document.title='it ran'</script>.png"""
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --virtual-time-budget=2000 --dump-dom"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


def dom_after_loading(html: str, folder: Path) -> str:
    """The document as it stands in the browser when all of its scripts have run."""
    page = folder / "page.html"
    page.write_text(html)
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", page.as_uri()]
    browser = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, errors = browser.communicate(timeout=60)
    finally:
        if browser.poll() is None:
            os.killpg(browser.pid, signal.SIGKILL)
    assert browser.returncode == 0, errors.decode()
    return out.decode()


def hostile_page() -> ReportPage:
    """A page on which every text that comes from outside is hostile."""
    table = pa.table(
        {
            "image_id": [0, 1],
            "uri": [HOSTILE, HOSTILE],
            "label": [HOSTILE, None],
            "group": [HOSTILE, None],
            "status": ["scored", "missing"],
            "error": [None, HOSTILE],
            "score": pa.array([0.5, None], pa.float32()),
            "p_value": [0.1, None],
            "is_anomaly": pa.nulls(2, pa.bool_()),
            "bundle_id": [HOSTILE, HOSTILE],
            "threshold_id": pa.nulls(2, pa.string()),
        }
    )
    moment = "2026-11-22T21:04:09+00:00"
    record = {
        "rayae": HOSTILE,
        "created": moment,
        "bundle": HOSTILE,
        "images": HOSTILE,
        "rows": 3,
        "chunks": [0],
        "fingerprint_hash": "f1" * 6,
    }
    pixels = np.zeros((8, 8, 1), np.uint8)
    worst = WorstPicture(0, HOSTILE, pixels, pixels, np.zeros((8, 8), np.float32), reason=HOSTILE)
    return compose(
        f"/runs/{HOSTILE}", record, None, *asked(table), score_name=HOSTILE, pictures=[worst], notes=[HOSTILE]
    )


def test_no_script_runs_from_a_name(tmp_path: Path) -> None:
    page = hostile_page()
    dom = dom_after_loading(render(page), tmp_path)
    assert "it ran</title>" not in dom
    assert "anomaly report</title>" in dom
    assert dom.count("<script") == 2
    assert '<img src="x"' not in dom
    assert "&lt;script&gt;" in dom


def test_this_browser_would_run_the_script_if_it_were_there(tmp_path: Path) -> None:
    assert "<title>it ran</title>" in dom_after_loading(f"<title>quiet</title>{HOSTILE}", tmp_path)
