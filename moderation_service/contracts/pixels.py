"""Pixels of one image or frame, as media gives them to an engine."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""height x width x 3, RGB, C-contiguous."""
