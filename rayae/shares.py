"""Home of shares: which images each worker of a training holds, and how many of them it takes into a step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """Which images are trained on and which are held out, by `image_id`: of all workers together, or of one."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]

    def of(self, rank: int, workers: int) -> "Share":
        """What one of so many workers holds.

        All hold equally many images to train on, so that all make the same number of steps: each image is with one
        worker at least, and where the number does not divide, the first few are with one more. A held-out image is
        with one worker, so that figures of all workers together are those of the images: when there are fewer of them
        than workers, the last workers hold none.
        """
        enough = np.resize(self.train, -(-len(self.train) // workers) * workers)
        return Share(enough[rank::workers], self.validation[rank::workers])


def images_of_each(batch_size: int, workers: int) -> int:
    """Images that each worker takes into a step, so that all together take as near to `batch_size` as it divides.

    One at least; of two sums that are equally near, the smaller.
    """
    return max(1, -((workers - 2 * batch_size) // (2 * workers)))
