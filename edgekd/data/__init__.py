"""The user's data set: read from anywhere, split, and turned into model inputs."""

from edgekd.data.extras import library

library("numpy")
