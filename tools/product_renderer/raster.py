"""Pinhole views and a z-buffer rasterizer in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_NEAR = 0.02  # Meters; triangles that come nearer to the camera are left out.


@dataclass(frozen=True)
class View:
    """A pinhole camera.

    Attributes:
        position: float64 [3], meters.
        rotation: float64 [3, 3]; its rows are the directions right, down and forward.
        focal: Focal length in pixels.
        size: (H, W) of the image in pixels.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: float
    size: tuple[int, int]

    def scaled(self, factor: float) -> View:
        """Returns the same view on an image that is `factor` times as large."""
        size = tuple(max(1, int(round(side * factor))) for side in self.size)
        return View(self.position, self.rotation, self.focal * factor, size)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Projects points.

        Args:
            points: float [N, 3], meters.

        Returns:
            float64 [N, 3]: x and y in pixels (0 at the left and upper border), depth in meters.
        """
        local = (points - self.position) @ self.rotation.T
        depth = local[:, 2]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        x = self.focal * local[:, 0] / safe + self.size[1] / 2
        y = self.focal * local[:, 1] / safe + self.size[0] / 2
        return np.stack([x, y, depth], axis=1)

    def rays(self) -> np.ndarray:
        """Returns float32 [H, W, 3]: the direction through every pixel center, of depth 1."""
        x = (np.arange(self.size[1]) + 0.5 - self.size[1] / 2) / self.focal
        y = (np.arange(self.size[0]) + 0.5 - self.size[0] / 2) / self.focal
        right, down, forward = self.rotation
        return (x[None, :, None] * right + y[:, None, None] * down + forward[None, None]).astype(
            np.float32
        )


def look_at(position, target, roll: float, focal: float, size: tuple[int, int]) -> View:
    """Makes a view from a position towards a target.

    Args:
        position: float [3], meters.
        target: float [3], meters; not straight above or below the position.
        roll: Turn about the line of sight in radians.
        focal: Focal length in pixels.
        size: (H, W) in pixels.

    Returns:
        The view.
    """
    forward = np.asarray(target, np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll), np.sin(roll)
    rows = [cosine * right + sine * down, cosine * down - sine * right, forward]
    return View(np.asarray(position, np.float64), np.stack(rows), focal, size)


@dataclass(frozen=True)
class Coverage:
    """Faces and depths of a rasterized image.

    Attributes:
        pixels: int64 [N], flat indices of the covered pixels.
        faces: int64 [N], the face in front at each of them.
        closeness: float32 [N], its interpolated closeness.
    """

    pixels: np.ndarray
    faces: np.ndarray
    closeness: np.ndarray


def rasterize(corners: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> Coverage:
    """Finds the frontmost face at every pixel center; faces seen from behind are left out.

    Each face is cut into rows and each row into pixels by whole-array operations, so that only
    covered pixels are touched.

    Args:
        corners: float [V, 3]: x and y in pixels, and a closeness that is linear in the image and
            larger in front (1 / depth for a pinhole, -depth for parallel light).
        faces: int [F, 3], indices of corners.
        size: (H, W) in pixels.

    Returns:
        The covered pixels.
    """
    height, width = size
    kept, owner, row, start, stop = _rows_of_faces(corners, faces, size)
    triangle = corners[faces[kept]]
    x, y, close = triangle[..., 0], triangle[..., 1], triangle[..., 2]
    # Closeness is a plane over the image: its slopes follow from the three corners.
    dx1, dx2, dy1, dy2 = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0], y[:, 1] - y[:, 0], y[:, 2] - y[:, 0]
    rise, run = close[:, 1:] - close[:, :1], 1 / (dx1 * dy2 - dx2 * dy1)
    slope_x = (rise[:, 0] * dy2 - rise[:, 1] * dy1) * run
    slope_y = (rise[:, 1] * dx1 - rise[:, 0] * dx2) * run
    base = (
        close[owner, 0]
        + slope_x[owner] * (start + 0.5 - x[owner, 0])
        + slope_y[owner] * (row + 0.5 - y[owner, 0])
    )
    pair, step = _expand(np.maximum(stop - start, 0))
    value = (base[pair] + slope_x[owner][pair] * step).astype(np.float32)
    place = (row * width + start)[pair] + step
    nearest = np.full(height * width, -np.inf, np.float32)
    np.maximum.at(nearest, place, value)
    won = value == nearest[place]
    image = np.full(height * width, -1, np.int64)
    image[place[won]] = kept[owner[pair[won]]]
    pixels = np.flatnonzero(image >= 0)
    return Coverage(pixels, image[pixels], nearest[pixels])


def _rows_of_faces(corners: np.ndarray, faces: np.ndarray, size: tuple[int, int]):
    """Cuts the faces that look to the viewer into rows of pixels.

    Returns:
        The kept faces int64 [K], and for every row: its number among the kept faces, its y, its
        first column and the column after its last, int64 [R] each.
    """
    height, width = size
    x, y = corners[faces, 0], corners[faces, 1]
    lowest, highest = (
        [choose(choose(line[:, 0], line[:, 1]), line[:, 2]) for line in (x, y)]
        for choose in (np.minimum, np.maximum)
    )
    # The image's y points down, so a face that is counter-clockwise from outside has area < 0.
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    first = np.clip(np.ceil(lowest[1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(highest[1] - 0.5), 0, height).astype(np.int64)
    inside = (last > first) & (highest[0] > 0) & (lowest[0] < width)
    kept = np.flatnonzero((area < -1e-9) & inside)
    owner, step = _expand(last[kept] - first[kept])
    row = first[kept][owner] + step
    left, right = _row_ends(x[kept][owner], y[kept][owner], row + 0.5)
    start = np.clip(np.ceil(left - 0.5), 0, width).astype(np.int64)
    stop = np.clip(np.ceil(right - 0.5), 0, width).astype(np.int64)
    return kept, owner, row, start, stop


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for every item repeated `counts` times, its index and the number of the copy."""
    owner = np.repeat(np.arange(len(counts)), counts)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else counts
    return owner, np.arange(len(owner)) - before[owner]


def _row_ends(x: np.ndarray, y: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where horizontal lines enter and leave triangles x, y [N, 3]."""
    left, right = np.full(len(height), np.inf), np.full(len(height), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        low, high = np.minimum(y[:, a], y[:, b]), np.maximum(y[:, a], y[:, b])
        crosses = (low <= height) & (height < high)
        span = np.where(high > low, y[:, b] - y[:, a], 1.0)
        at = x[:, a] + (height - y[:, a]) / span * (x[:, b] - x[:, a])
        left = np.where(crosses, np.minimum(left, at), left)
        right = np.where(crosses, np.maximum(right, at), right)
    return np.where(left <= right, left, 0.0), np.where(left <= right, right, 0.0)


def rasterize_view(view: View, vertices: np.ndarray, faces: np.ndarray) -> Coverage:
    """Rasterizes a mesh through a pinhole camera; closeness is 1 / depth (1 / meters).

    Args:
        view: The camera.
        vertices: float [V, 3], meters.
        faces: int [F, 3].

    Returns:
        The covered pixels; their `faces` index the given faces.
    """
    projected = view.project(vertices)
    near = projected[:, 2] > _NEAR
    ahead = np.flatnonzero(near[faces[:, 0]] & near[faces[:, 1]] & near[faces[:, 2]])
    corners = projected.copy()
    corners[:, 2] = 1 / np.maximum(projected[:, 2], _NEAR)
    seen = rasterize(corners, faces[ahead], view.size)
    return Coverage(seen.pixels, ahead[seen.faces], seen.closeness)


def barycentric(view: View, vertices: np.ndarray, faces: np.ndarray, seen: Coverage) -> np.ndarray:
    """Computes perspective-correct weights of the three corners at every covered pixel.

    Args:
        view: The camera.
        vertices: float [V, 3], meters.
        faces: int [F, 3].
        seen: Result of `rasterize_view`.

    Returns:
        float32 [N, 3], each row of sum 1.
    """
    used, index = np.unique(seen.faces, return_inverse=True)
    projected = view.project(vertices)[faces[used]]
    x, y, depth = projected[..., 0], projected[..., 1], projected[..., 2]
    # weight_i / depth is linear in the image: its (x, y, 1) coefficients from the opposite edge.
    after, last = [1, 2, 0], [2, 0, 1]
    planes = np.stack(
        [
            y[:, after] - y[:, last],
            x[:, last] - x[:, after],
            x[:, after] * y[:, last] - x[:, last] * y[:, after],
        ],
        axis=-1,
    )
    area = planes[..., 2].sum(axis=1)
    planes = planes / area[:, None, None] / depth[..., None]
    planes = planes.astype(np.float32)[index]
    y, x = np.divmod(seen.pixels, view.size[1])
    x, y = x.astype(np.float32)[:, None] + 0.5, y.astype(np.float32)[:, None] + 0.5
    weights = np.maximum(planes[..., 0] * x + planes[..., 1] * y + planes[..., 2], 0)
    total = weights[:, 0] + weights[:, 1] + weights[:, 2]
    return weights / np.maximum(total, 1e-12)[:, None]
