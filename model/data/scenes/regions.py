"""Region features of a drawing, as a detector with perfect boxes and raw pixels would give them.

The first region is the whole picture, the others are
the objects; a region is its pixels at REGION_PIXELS x REGION_PIXELS, and its box.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image

from model.data.scenes.drawing import Drawing
from model.data.scenes.graph import MAX_OBJECTS

REGION_PIXELS = 8
REGION_COUNT = MAX_OBJECTS + 1
REGION_DIM = 3 * REGION_PIXELS**2 + 5


def region_features(drawing: Drawing) -> Float[np.ndarray, "region region_dim"]:
    """Return REGION_COUNT rows of REGION_DIM values in 0..1, float32.

    The last five values of a row are left, top, right, bottom and area, as fractions of the
    picture; rows beyond the objects are zero.
    """
    width, height = drawing.picture.size
    features = np.zeros((REGION_COUNT, REGION_DIM), dtype=np.float32)
    for row, box in zip(features, ((0, 0, width, height), *drawing.boxes), strict=False):
        left, top, right, bottom = box
        patch = drawing.picture.resize(
            (REGION_PIXELS, REGION_PIXELS), Image.Resampling.BOX, box=(left, top, right, bottom)
        )
        row[:-5] = np.asarray(patch, dtype=np.float32).ravel() / 255
        x0, y0, x1, y1 = left / width, top / height, right / width, bottom / height
        row[-5:] = x0, y0, x1, y1, (x1 - x0) * (y1 - y0)
    return features
