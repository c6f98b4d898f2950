"""Home of the names of the scores: what each needs, and on which scale it is compared."""

PICTURE_SCORES = ("mse", "mae", "mse_worst1", "ssim_error", "ssim_worst1", "gradient_mean", "gradient_max")
"""What an image and its reconstruction are enough for. Errors from 0 up, so they are compared by their logarithms."""
HEAD_SCORES = ("head_max", "head_worst1", "head_mean")
"""What needs the logits of a discriminative head; logits themselves."""
LATENT_SCORES = ("latent_distance",)
"""What needs the latent and the statistics of the training latents."""
COMPONENT_SCORES = ("component_worst1",)
"""What needs the principal components of the training pictures; errors of pictures too."""
COMBINED = "combined"
"""What needs a `Standard` and the scores that it combines."""
SINGLE_SCORES = (*PICTURE_SCORES, *HEAD_SCORES, *LATENT_SCORES, *COMPONENT_SCORES)
SCORE_NAMES = (*SINGLE_SCORES, COMBINED)
