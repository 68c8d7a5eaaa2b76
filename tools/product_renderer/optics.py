"""Camera model of a phone: exposure, white balance, motion blur, tone, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from product_renderer.camera import Shake
from product_renderer.textures import Generator


@dataclass(frozen=True)
class Phone:
    """Properties of one phone and its automatic controls.

    Attributes:
        shutter: Exposure time in seconds.
        exposure: Factor on the light so that the mean of the scene is rendered as middle gray.
        balance: float64 [3], factors of the color channels.
        drift: Slow change of the exposure and of the balance of red and blue.
        contrast: Slope of the tone curve at middle gray; 1 is neutral.
        saturation: 1 keeps the colors.
        vignette: Share of light lost in the corners.
        noise: Standard deviation of the noise at middle gray, in units of 0..1.
        sharpen: Strength of the unsharp mask.
        quality: Quality of the JPEG, 0..100.
    """

    shutter: float
    exposure: float
    balance: np.ndarray
    drift: Shake
    contrast: float
    saturation: float
    vignette: float
    noise: float
    sharpen: float
    quality: int

    @classmethod
    def draw(cls, rng: Generator, light: np.ndarray, moving: bool) -> Phone:
        """Draws a phone and lets it measure the scene.

        Args:
            rng: Generator to draw from.
            light: float32 [H, W, 3], the first frame in linear light.
            moving: Whether exposure and white balance drift, as in a clip.

        Returns:
            The phone.
        """
        # Automatic exposure looks at the middle of the frame, goes by the logarithm, which bright
        # windows hardly move, and spares the highlights.
        height, width = light.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        weight = np.exp(-(x * x + y * y) / 0.6)
        luma = light.mean(axis=2)
        mean = float(np.exp((np.log(luma + 1e-3) * weight).sum() / weight.sum()))
        # Dark scenes stay somewhat darker, bright ones brighter, as people see them.
        middle = luma[height // 4 : -(height // 4), width // 4 : -(width // 4)]
        highlight = max(float(np.percentile(middle, 97)), 1e-3)
        exposure = min(0.17 / mean**0.75 / 0.25**0.25, 0.7 / highlight)
        gray = light.reshape(-1, 3).mean(axis=0)
        neutral = (gray.mean() / gray) ** rng.uniform(0.0, 0.7)
        tint = rng.normal(0, 0.035, 3)
        return cls(
            shutter=float(np.exp(rng.uniform(np.log(1 / 250), np.log(1 / 25)))),
            exposure=exposure * float(np.exp(rng.normal(0.05, 0.2))),
            balance=neutral * (1 + tint),
            drift=Shake.draw(rng, 3, 0.035 if moving else 0.0),
            contrast=rng.uniform(0.88, 1.12),
            saturation=rng.uniform(0.8, 1.08),
            vignette=rng.uniform(0.0, 0.3),
            noise=float(np.exp(rng.uniform(np.log(0.002), np.log(0.012)))),
            sharpen=rng.uniform(0.1, 0.8),
            quality=int(rng.integers(72, 96)),
        )


def draw_opening(rng: Generator) -> float:
    """Draws the diameter, in meters, of a lens opening; the larger ones mimic portrait mode."""
    return float(rng.choice([0.0015, 0.003, 0.006, 0.010]))


def motion_blur(image: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Smears an image along a straight path.

    Args:
        image: float32 [H, W, 3].
        motion: float [2], length of the path along x and y in pixels; at most 31 count.

    Returns:
        float32 [H, W, 3].
    """
    length = float(np.linalg.norm(motion))
    if length < 0.7:
        return image
    motion = motion * min(1.0, 31 / length)
    radius = int(np.ceil(np.abs(motion).max() / 2)) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    for part in np.linspace(-0.5, 0.5, 64):
        x, y = motion[0] * part + radius, motion[1] * part + radius
        column, row = int(np.floor(x)), int(np.floor(y))
        right, low = x - column, y - row
        kernel[row, column] += (1 - right) * (1 - low)
        kernel[row, column + 1] += right * (1 - low)
        kernel[row + 1, column] += (1 - right) * low
        kernel[row + 1, column + 1] += right * low
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _tone_table(contrast: float, entries: int = 4096) -> np.ndarray:
    """Returns the tone curve as float32 [entries] over the square root of light 0..4.

    A filmic shoulder (K. Narkowicz, "ACES filmic tone mapping curve", 2015) keeps highlights, then
    the sRGB power and a contrast about middle gray.
    """
    light = np.linspace(0, 2, entries) ** 2 * 1.1
    film = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    value = np.clip(film, 0, 1) ** (1 / 2.2)
    curve = 0.5 + (value - 0.5) * contrast
    return np.clip(curve, 0, 1).astype(np.float32)


def develop(
    phone: Phone, light: np.ndarray, time: float, motion: np.ndarray, rng: Generator
) -> np.ndarray:
    """Turns light into the picture that the phone stores.

    Args:
        phone: The phone.
        light: float32 [H, W, 3], linear light.
        time: Seconds from the start of the clip.
        motion: float [2], movement of the product during the exposure, x and y in pixels.
        rng: Generator of this frame's noise.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    height, width = light.shape[:2]
    drift = phone.drift.at(time)
    gains = phone.balance * (1 + drift[0] * 2) * np.array([1 + drift[1], 1, 1 + drift[2]])
    image = motion_blur(light * (gains * phone.exposure).astype(np.float32), motion)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image *= (1 - phone.vignette * (x * x + y * y) / 2).astype(np.float32)[..., None]
    # Light that is scattered in the lens lifts the dark parts next to bright ones.
    small = cv2.resize(
        image, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA
    )
    glare = cv2.GaussianBlur(small, (0, 0), max(1.0, width / 80))
    image += 0.04 * cv2.resize(glare, (width, height), interpolation=cv2.INTER_LINEAR)
    table = _tone_table(phone.contrast)
    index = np.sqrt(np.clip(image, 0, 4)) * ((len(table) - 1) / 2)
    image = table[index.astype(np.int32)]
    gray = image.mean(axis=2, keepdims=True)
    image = gray + phone.saturation * (image - gray)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    # Demosaicing and noise reduction leave grain that is wider than one pixel.
    grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * 2.2
    image += grain * (phone.noise * (0.5 + np.sqrt(np.clip(1 - image, 0, 1))))
    image += phone.sharpen * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
    stored = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, phone.quality]
    _, encoded = cv2.imencode(".jpg", stored[..., ::-1], quality)
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
