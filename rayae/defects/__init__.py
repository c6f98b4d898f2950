"""Home of synthetic defects: changed places in normal pictures, for a network that learns to find and mend them.

A defect is a shape filled with a content. Any shape goes with any content, so that a few of each make many kinds, and
nothing comes from foreign pictures: contents are made of the pictures themselves, of the others in the batch, and of
noise. The shapes are rectangles and ellipses of any slant (also long, thin ones), blobs of noise, and strokes: the
scars, cracks and scratches. The contents are a patch of another picture (cut-and-paste: Li et al., "CutPaste", 2021),
the same blended by its gradients (Poisson: Schlueter et al., "Natural Synthetic Anomalies", 2022), noise of any grain
(as in Zavrtanik et al., "DRAEM", 2021), brighter or darker, the picture itself moved, and blurred.
"""

from rayae.defects.damaged import CONTENTS, SHAPES, Damaged, damage, visible
from rayae.defects.sheet import contact_sheet

__all__ = ["CONTENTS", "SHAPES", "Damaged", "contact_sheet", "damage", "visible"]
