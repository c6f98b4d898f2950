"""A headless browser that tests share: a page is loaded, a person may do things to it, and what then stands is read."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WITH_A_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --enable-logging=stderr "
    "--virtual-time-budget=2000"
)
SAID = '<output id="said">'
ACTED = """
<script>
const said = [];
const press = (key) => {
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
};
const names = () => [...document.querySelectorAll("#gallery-cards .path")].map((path) => path.textContent);
const status = () => document.getElementById("gallery-status").textContent;
const write = (id, value, event) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event(event, { bubbles: true }));
};
try { DEED } catch (error) { said.push(String(error)); }
top.postMessage(encodeURIComponent(JSON.stringify(said)), "*");
</script>
"""
"""What a person does, as a script at the end of the page: it says what it sees. A page lets no script run but its own,
so the policy is taken out for it."""
FRAME = """
<iframe style="width: WIDTHpx; height: 900px; border: 0" src="inner.htmlHASH"></iframe>
<script>
addEventListener("message", (event) => {
  const output = document.createElement("output");
  output.id = "said";
  output.textContent = event.data;
  document.body.append(output);
});
</script>
"""
"""A window of chromium is 500 pixels wide at least, a frame in it may be narrower."""


def opened(html: str, folder: Path, *words: str) -> tuple[str, str]:
    """What the browser prints of a page when all of its scripts have run, and what it complains of."""
    page = folder / "page.html"
    page.write_text(html)
    command = [str(CHROMIUM), *FLAGS.split(), "--dump-dom", *words, f"--user-data-dir={folder / 'profile'}"]
    browser = subprocess.Popen(
        [*command, page.as_uri()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, errors = browser.communicate(timeout=60)
    finally:
        if browser.poll() is None:
            os.killpg(browser.pid, signal.SIGKILL)
    assert browser.returncode == 0, errors.decode()
    complaints = [line for line in errors.decode().splitlines() if "CONSOLE" in line]
    return out.decode(), "\n".join(complaints)


def done(html: str, folder: Path, deed: str, hash_: str = "", width: int = 1280) -> Any:
    """What a person who does a deed on a page sees: what the deed, in JavaScript, pushes to `said`."""
    start, rest = html.split('<meta http-equiv="Content-Security-Policy"', 1)
    free = (start + rest.split(">", 1)[1]).replace("</body>", ACTED.replace("DEED", deed) + "</body>")
    (folder / "inner.html").write_text(free)
    frame = FRAME.replace("WIDTH", str(width)).replace("HASH", hash_)
    dom, complaints = opened(frame, folder, f"--window-size={max(width, 500)},900")
    assert complaints == ""
    return json.loads(unquote(dom.rpartition(SAID)[2].partition("<")[0]))
