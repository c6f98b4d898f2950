"""rayae: train an image autoencoder on many GPUs, score millions of images, flag the anomalies."""

__version__ = "0.1.0"
