"""What all unit tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported; small pictures gain nothing by more
