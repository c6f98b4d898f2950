"""A DataLoader of PyTorch over tar files of webdataset: its workers read and decode, this process scores.

    python -m benchmarks.speed.by_webdataset TARS BUNDLE OUT

Writing the tars is not counted, though somebody has to do it. The network has the cores that the workers leave.
"""

import glob
import io
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset
from PIL import Image

from benchmarks.speed.model import BATCH, SIDE, opened

CORES = len(os.sched_getaffinity(0))


def decoded(sample: dict[str, bytes]) -> tuple[str, np.ndarray]:
    """The name and the pixels of a sample."""
    picture = Image.open(io.BytesIO(sample["jpg"])).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return sample["uri"].decode(), np.asarray(picture)


def gathered(samples: list[tuple[str, np.ndarray]]) -> tuple[list[str], torch.Tensor]:
    """A batch of samples."""
    return [name for name, _ in samples], torch.from_numpy(np.stack([pixels for _, pixels in samples]))


def main(tars: str, bundle: str, out: str) -> None:
    """All tars of a folder, in one pass."""
    score, uris, scores = opened(bundle), list[str](), list[np.ndarray]()
    torch.set_num_threads(CORES)
    files = sorted(glob.glob(f"{tars}/*.tar"))
    samples = webdataset.WebDataset(files, shardshuffle=False).map(decoded)
    loader = torch.utils.data.DataLoader(samples, batch_size=BATCH, num_workers=CORES, collate_fn=gathered)
    for names, pixels in loader:
        uris += names
        scores.append(score(pixels.numpy()))
    pq.write_table(pa.table({"uri": uris, "score": np.concatenate(scores)}), f"{out}/0.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
