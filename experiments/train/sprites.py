"""Fetch the sprite package, check it, and scale the sixteen sprites used to 96x96: `python sprites.py`.

Writes sprites.npz (RGBA, uint8, not premultiplied), which stands in the repository, so nobody needs to run this.
"""

import base64
import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

from captions import OBJECTS

URL = "https://registry.npmjs.org/@lobehub/fluent-emoji-3d/-/fluent-emoji-3d-1.1.0.tgz"
SHA512 = "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
CODE_POINTS = dict(cat="1f431", panda="1f43c", frog="1f438", penguin="1f427", duck="1f986", turtle="1f422",
                   ladybug="1f41e", apple="1f34e", strawberry="1f353", car="1f697", bus="1f68c", rocket="1f680",
                   ball="26bd", heart="2764-fe0f", star="2b50", mushroom="1f344")
SIZE = 96
FILE = Path(__file__).parent / "sprites.npz"


def scaled(image):
    """Crop to the drawing, centre it in a square with a hair of margin, scale to SIZE by area."""
    left, top, right, bottom = image.getchannel("A").point(lambda a: 255 * (a > 12)).getbbox()
    side = int(max(right - left, bottom - top) * 1.03)
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    square = image.crop((x, y, x + side, y + side)).convert("RGBa")
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BOX).convert("RGBA"))


def main(package=None):
    blob = Path(package).read_bytes() if package else urllib.request.urlopen(URL).read()
    found = base64.b64encode(hashlib.sha512(blob).digest()).decode()
    if found != SHA512:
        raise SystemExit(f"{package or URL}: sha512 is {found}, expected {SHA512}; fetch the package again")
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        read = lambda code: Image.open(tar.extractfile(f"package/assets/{code}.webp")).convert("RGBA")
        sheet = np.stack([scaled(read(CODE_POINTS[name])) for name in OBJECTS])
    np.savez_compressed(FILE, rgba=sheet)
    print(FILE, sheet.shape, FILE.stat().st_size, "bytes")


if __name__ == "__main__":
    import sys
    main(*sys.argv[1:])
