"""Home of the names of the scores: what each is in words, what it needs, and on which scale it is compared."""

PICTURE_SCORES = ("mse", "mae", "mse_worst1", "ssim_error", "ssim_worst1", "gradient_mean", "gradient_max")
"""What an image and its reconstruction are enough for. Errors from 0 up, so they are compared by their logarithms."""
HEAD_SCORES = ("head_max", "head_worst1", "head_mean")
"""What needs the logits of a discriminative head; logits themselves."""
LATENT_SCORES = ("latent_distance",)
"""What needs the latent and the statistics of the training latents."""
PLACE_SCORES = ("place_mean", "place_worst1")
"""What needs features and their statistics at each place of the training pictures; distances."""
COMPONENT_SCORES = ("component_mse", "component_worst1", "component_gradient")
"""What needs the principal components of the training pictures; errors of pictures too."""
TEXTURE_SCORES = ("texture_worst1",)
"""What needs the statistics of brightness and edges of the training pictures; errors of pictures too."""
NEAREST_SCORES = ("nearest_distance",)
"""What needs the codes of training pictures."""
COMBINED = "combined"
"""What needs a `Standard` and the scores that it combines."""
SINGLE_SCORES = (
    *PICTURE_SCORES,
    *HEAD_SCORES,
    *LATENT_SCORES,
    *PLACE_SCORES,
    *COMPONENT_SCORES,
    *TEXTURE_SCORES,
    *NEAREST_SCORES,
)
SCORE_NAMES = (*SINGLE_SCORES, COMBINED)
UNTRAINED_SCORES = (*COMPONENT_SCORES, *TEXTURE_SCORES, *NEAREST_SCORES)
"""What no network is needed for: floors that a trained detector is held against."""

IN_WORDS = {
    "mse": "the mean squared error of the reconstruction",
    "mae": "the mean absolute error of the reconstruction",
    "mse_worst1": "the squared error of the reconstruction where it is worst, in 1 % of the image",
    "ssim_error": "the mean difference in structure between the image and its reconstruction (1 - SSIM)",
    "ssim_worst1": "the difference in structure (1 - SSIM) from the reconstruction where it is greatest, in 1 % of the "
    "image",
    "gradient_mean": "the mean difference in edges between the image and its reconstruction",
    "gradient_max": "the greatest difference in edges between the image and its reconstruction",
    "head_max": "the highest logit of the head, which learnt where synthetic defects were",
    "head_worst1": "the logit of the head, which learnt where synthetic defects were, in the highest 1 % of the image",
    "head_mean": "the logit of the mean defect probability that the head sees, which learnt where synthetic defects "
    "were",
    "latent_distance": "the distance of the latent from those of the training images, in standard deviations",
    "place_mean": "the distance of what the detector sees at each place from what it saw there in the training "
    "images, as a root mean square over all places, in standard deviations",
    "place_worst1": "the distance of what the detector sees from what it saw at the same place in the training images, "
    "where it is greatest, in 1 % of the places",
    "component_mse": "the mean squared error against what the principal components of the training images can say",
    "component_worst1": "the squared error against what the principal components of the training images can say, where "
    "it is worst, in 1 % of the image",
    "component_gradient": "the mean difference in edges from what the principal components of the training images can "
    "say",
    "texture_worst1": "how far brightness and edges are from what is usual at the same place in the training images, "
    "where that is furthest, in 1 % of the places",
    "nearest_distance": "the distance to the most similar of the training images, by their thumbnails",
    COMBINED: "several scores together, each by how far it lies above its values on held-out normal images",
}
"""What each score is, so that a sentence can say `SCORE is ...`."""
