"""Tone mapping of HDR frames to BT.709.

Phones record HLG, cinema cameras and some phones PQ, both with the wide primaries of BT.2020. Shown
without conversion, such frames are gray and washed out. Steps: coded value to light, light relative
to diffuse white, compression of highlights, change of primaries, sRGB code. Highlights are
compressed per channel, which is cheap and shifts the hue of the brightest colors slightly.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

# Code points of transfer characteristics, ITU-T H.273 table 3.
PQ = 16
HLG = 18
# Light of diffuse white in HDR, cd/m2: ITU-R BT.2408, section 2.
_REFERENCE_WHITE = 203.0
# Peak and system gamma of the default display of HLG: ITU-R BT.2100, table 5.
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
# BT.2020 to BT.709, linear light: ITU-R BT.2087, inverse of its matrix M2.
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
# Light below this fraction of diffuse white is kept, above it approaches 1 smoothly.
_KNEE = 0.6


def tone_map(image: np.ndarray, transfer: int) -> np.ndarray:
    """Maps an HDR frame to the range and primaries of BT.709, coded as sRGB.

    Args:
        image: uint8 [H, W, 3], R'G'B' of BT.2020 coded by HLG or PQ, full range.
        transfer: `HLG` or `PQ`.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    light = _compressed_light(transfer)[image]
    light = cv2.transform(light, _BT2020_TO_BT709)
    return _code()[(np.clip(light, 0, 1) * 65535 + 0.5).astype(np.uint16)]


@cache
def _compressed_light(transfer: int) -> np.ndarray:
    """Returns the light of each coded value after compression: float32 [256], 0 to 1."""
    value = np.arange(256) / 255
    nits = _pq_light(value) if transfer == PQ else _hlg_light(value)
    light = nits / _REFERENCE_WHITE
    above = _KNEE + (1 - _KNEE) * (1 - np.exp(-(light - _KNEE) / (1 - _KNEE)))
    return np.where(light > _KNEE, above, light).astype(np.float32)


def _pq_light(value: np.ndarray) -> np.ndarray:
    """Returns the display light of PQ in cd/m2: SMPTE ST 2084, equation 4.1."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = value ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_light(value: np.ndarray) -> np.ndarray:
    """Returns the display light of HLG in cd/m2: ITU-R BT.2100, table 5, for gray."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return _HLG_PEAK * scene**_HLG_GAMMA


@cache
def _code() -> np.ndarray:
    """Returns the sRGB code (IEC 61966-2-1) of light in 65536 steps: uint8 [65536]."""
    light = np.arange(65536) / 65535
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * coded).astype(np.uint8)
