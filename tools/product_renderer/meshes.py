"""Triangle meshes of simple surfaces: grids, surfaces of revolution, rounded boxes, tubes, lofts.

Lengths are meters, z points up. Triangles are wound counter-clockwise seen from outside, normals
point outside, texture coordinates run 0..1 with v = 0 at the top row of the texture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """A textured triangle mesh.

    Attributes:
        vertices: float64 [V, 3], meters.
        normals: float64 [V, 3], unit vectors.
        uv: float64 [V, 2], texture coordinates.
        faces: int64 [F, 3], indices of vertices.
    """

    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray

    def moved(self, offset) -> Mesh:
        """Returns the mesh shifted by an offset (x, y, z) in meters."""
        return replace(self, vertices=self.vertices + np.asarray(offset, np.float64))

    def turned(self, axis: str, angle: float) -> Mesh:
        """Returns the mesh turned about the x, y or z axis by an angle in radians."""
        turn = rotation(axis, angle).T
        return replace(self, vertices=self.vertices @ turn, normals=self.normals @ turn)

    def scaled(self, factors) -> Mesh:
        """Returns the mesh stretched by positive factors along x, y and z."""
        factors = np.broadcast_to(np.asarray(factors, np.float64), 3)
        return replace(
            self, vertices=self.vertices * factors, normals=_unit(self.normals / factors)
        )


def rotation(axis: str, angle: float) -> np.ndarray:
    """Returns the matrix float64 [3, 3] of a right-handed turn about an axis, radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scales vectors [..., 3] to length 1; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def grid(points: np.ndarray, uv: np.ndarray, closed: bool = False) -> Mesh:
    """Makes a mesh of a grid of points, rows x columns.

    Args:
        points: float64 [R, C, 3]; with rows upward and columns to the right seen from outside.
        uv: float64 [R, C, 2].
        closed: Whether the last column repeats the first (the normals then join smoothly).

    Returns:
        The mesh.
    """
    rows, columns = points.shape[:2]
    across = np.gradient(points, axis=1)
    if closed:
        across[:, 0] = across[:, -1] = (points[:, 1] - points[:, -2]) / 2
    normals = np.cross(across, np.gradient(points, axis=0))
    flat = np.linalg.norm(normals, axis=-1, keepdims=True) < 1e-12
    # A pole of a surface of revolution has no direction across: all its columns are one point.
    # Its normal is the mean of the neighboring row's.
    for row in np.flatnonzero(flat.all(axis=(1, 2))):
        neighbor = row + 1 if row + 1 < rows and row < rows / 2 else row - 1
        normals[row] = _unit(normals[neighbor]).mean(axis=0)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel()
    c, d = corner[1:, 1:].ravel(), corner[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(points.reshape(-1, 3), _unit(normals).reshape(-1, 3), uv.reshape(-1, 2), faces)


def lathe(profile, segments: int = 40) -> Mesh:
    """Makes a surface of revolution about the z axis.

    Args:
        profile: [P, 2] (radius, height) in meters, from the bottom along the outside to the top
            (and down the inside of a vessel).
        segments: Number of columns round the axis.

    Returns:
        The mesh; u runs once round, v from 1 at the start of the profile to 0 at its end.
    """
    profile = np.asarray(profile, np.float64)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    radius = profile[:, :1]
    points = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), profile[:, 1:] + 0 * angle], axis=-1
    )
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    uv = np.stack(np.meshgrid(angle / (2 * np.pi), 1 - length / max(length[-1], 1e-12)), axis=-1)
    return grid(points, uv, closed=True)


def ellipsoid(radii, segments: int = 36) -> Mesh:
    """Makes an ellipsoid round the origin with radii (x, y, z) in meters."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    sphere = lathe(np.stack([np.cos(latitude), np.sin(latitude)], 1), segments)
    return sphere.scaled(radii)


def cylinder(radius: float, height: float, bevel: float = 0.0, segments: int = 32) -> Mesh:
    """Makes a closed upright cylinder on z = 0; its edges are rounded by `bevel` meters."""
    bevel = min(max(bevel, 0.02 * min(radius, height)), 0.45 * min(2 * radius, height))
    turn = np.linspace(0, np.pi / 2, 4)
    low = np.stack([radius - bevel + bevel * np.sin(turn), bevel - bevel * np.cos(turn)], 1)
    high = np.stack([low[::-1, 0], height - low[::-1, 1]], 1)
    return lathe(np.concatenate([[[0, 0]], low, high, [[0, height]]]), segments)


def torus(radius: float, thickness: float, segments: int = 32) -> Mesh:
    """Makes a ring about the z axis: distance to the middle of the tube, radius of the tube."""
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, 17)
    profile = np.stack([radius + thickness * np.cos(angle), thickness * np.sin(angle)], 1)
    return lathe(profile, segments)


def tube(path, radii, segments: int = 12) -> Mesh:
    """Makes a round tube with domed ends along a path.

    Args:
        path: [P, 3] points in meters, P >= 2.
        radii: Radius at every point or one for all, meters.
        segments: Number of columns round the tube.

    Returns:
        The mesh; v runs along the path, u round it.
    """
    path = np.asarray(path, np.float64)
    radii = np.broadcast_to(np.asarray(radii, np.float64), len(path))
    tangent = _unit(np.gradient(path, axis=0))
    ends = [path[:1] - tangent[:1] * radii[0] * 0.5, path[-1:] + tangent[-1:] * radii[-1] * 0.5]
    path = np.concatenate([ends[0], path, ends[1]])
    tangent = np.concatenate([tangent[:1], tangent, tangent[-1:]])
    radii = np.concatenate([[0], radii, [0]])
    # The normal is carried along the path: a fixed helper axis would flip where it is parallel.
    helper = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    side = np.empty_like(path)
    for index, direction in enumerate(tangent):
        helper = helper - direction * (helper @ direction)
        helper = side[index] = helper / max(np.linalg.norm(helper), 1e-12)
    other = np.cross(tangent, side)
    angle = np.linspace(0, 2 * np.pi, segments + 1)[None, :, None]
    ring = side[:, None] * np.cos(angle) + other[:, None] * np.sin(angle)
    points = path[:, None] + radii[:, None, None] * ring
    uv = np.stack(np.meshgrid(angle.ravel() / (2 * np.pi), np.linspace(1, 0, len(path))), -1)
    return grid(points, uv, closed=True)


def _superellipse(angle: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosine and sine bent towards a rectangle: power 2 is a circle, 6 nearly a box."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return (
        np.sign(cosine) * np.abs(cosine) ** (2 / power),
        np.sign(sine) * np.abs(sine) ** (2 / power),
    )


def loft(stations, widths, bottoms, tops, power=2.5, drift=0.0, segments: int = 32) -> Mesh:
    """Makes a closed body along the x axis from superelliptic cross sections.

    Args:
        stations: [S] x of every section in meters, ascending.
        widths: [S] full width along y.
        bottoms: [S] lowest z.
        tops: [S] highest z.
        power: Exponent of the superellipse: 2 round, larger more like a box.
        drift: [S] or one y of the middle of every section.
        segments: Number of columns round the body.

    Returns:
        The mesh; u runs round the section (0.25 on top), v along the body.
    """
    stations = np.asarray(stations, np.float64)
    widths, bottoms, tops, drift = (
        np.broadcast_to(np.asarray(value, np.float64), stations.shape)
        for value in (widths, bottoms, tops, drift)
    )
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    cosine, sine = _superellipse(angle, power)
    middle, half = (tops + bottoms) / 2, (tops - bottoms) / 2
    y = drift[:, None] + widths[:, None] / 2 * cosine
    points = np.stack([stations[:, None] + 0 * y, y, middle[:, None] + half[:, None] * sine], -1)
    center = np.stack([stations, drift, middle], 1)
    caps = [np.repeat(center[index][None, None], segments + 1, 1) for index in (0, -1)]
    points = np.concatenate([caps[0], points, caps[1]])
    place = (stations - stations[0]) / max(stations[-1] - stations[0], 1e-12)
    place = np.concatenate([[0], place, [1]])
    uv = np.stack(np.meshgrid(angle / (2 * np.pi), 1 - place), -1)
    return grid(points, uv, closed=True)


def rounded_box(size, radius: float, steps: int = 3, spans: int = 3) -> Mesh:
    """Makes a box standing on z = 0 with rounded edges and the uv of a 3 x 2 atlas.

    The atlas has front, right, back in its upper row and left, top, bottom in its lower row; the
    front looks to -y.

    Args:
        size: (x, y, z) lengths in meters.
        radius: Radius of the edges in meters.
        steps: Faces across each rounded edge.
        spans: Faces across each flat.

    Returns:
        The mesh.
    """
    half = np.asarray(size, np.float64) / 2
    radius = float(np.clip(radius, 1e-4, half.min() * 0.98))
    # right, up, outward axes of each side as (axis, sign)
    sides = (
        ((0, 1), (2, 1), (1, -1)),
        ((1, 1), (2, 1), (0, 1)),
        ((0, -1), (2, 1), (1, 1)),
        ((1, -1), (2, 1), (0, -1)),
        ((0, 1), (1, 1), (2, 1)),
        ((0, 1), (1, -1), (2, -1)),
    )
    parts = []
    for index, (right, up, out) in enumerate(sides):
        lines = []
        for axis, _ in (right, up):
            edge = radius * np.tan(np.linspace(-np.pi / 4, 0, steps + 1))
            inner = half[axis] - radius
            flat = np.linspace(-inner, inner, spans + 1)
            lines.append(np.concatenate([edge[:-1] - inner, flat, inner - edge[:-1][::-1]]))
        across, upward = np.meshgrid(*lines)
        points = np.empty((*across.shape, 3))
        points[..., right[0]], points[..., up[0]] = across * right[1], upward * up[1]
        points[..., out[0]] = half[out[0]] * out[1]
        inside = np.clip(points, radius - half, half - radius)
        normals = _unit(points - inside)
        points = inside + radius * normals
        cell = np.array([index % 3, index // 3])
        local = np.stack([across / half[right[0]] / 2, -upward / half[up[0]] / 2], -1) * 0.985
        mesh = grid(points, (local + 0.5 + cell) / [3, 2])
        parts.append(replace(mesh, normals=normals.reshape(-1, 3)))
    return join(parts).moved((0, 0, half[2]))


def join(meshes) -> Mesh:
    """Joins meshes that share one texture into one."""
    counts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate(
            [mesh.faces + start for mesh, start in zip(meshes, counts[:-1], strict=True)]
        ),
    )
