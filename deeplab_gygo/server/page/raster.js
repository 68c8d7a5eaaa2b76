/**
 * Drawing into masks of object ids.
 *
 * A mask is {ids: Uint8Array, width, height}. Every operation takes `choose(id)`, which returns the
 * new id of a covered pixel, and returns the changed rectangle [x0, y0, x1, y1) or null.
 */

/** Returns the union of two rectangles, either of which may be null. */
export function union(a, b) {
  if (!a || !b) return a || b;
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

function spans(mask, y0, y1, span, choose) {
  const { ids, width, height } = mask;
  let changed = null;
  for (let y = Math.max(0, y0); y < Math.min(height, y1); y++) {
    for (const [from, to] of span(y)) {
      const x0 = Math.max(0, Math.ceil(from - 0.5));
      const x1 = Math.min(width, Math.floor(to - 0.5) + 1);
      if (x0 >= x1) continue;
      for (let i = y * width + x0; i < y * width + x1; i++) ids[i] = choose(ids[i]);
      changed = union(changed, [x0, y, x1, y + 1]);
    }
  }
  return changed;
}

/** Covers what a round brush of a radius touches on its way from a to b, points in pixels. */
export function drawLine(mask, a, b, radius, choose) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy);
  const span = (row) => {
    const y = row + 0.5;
    let [from, to] = [Infinity, -Infinity];
    const include = (x0, x1) => ([from, to] = [Math.min(from, x0), Math.max(to, x1)]);
    for (const [x, cy] of [a, b]) {
      const half = radius * radius - (y - cy) ** 2;
      if (half >= 0) include(x - Math.sqrt(half), x + Math.sqrt(half));
    }
    if (length > 0) {
      const [nx, ny] = [(-dy / length) * radius, (dx / length) * radius];
      const corners = [
        [a[0] + nx, a[1] + ny], [b[0] + nx, b[1] + ny],
        [b[0] - nx, b[1] - ny], [a[0] - nx, a[1] - ny],
      ];
      for (const x of crossings(corners, y)) include(x, x);
    }
    return from <= to ? [[from, to]] : [];
  };
  const y0 = Math.floor(Math.min(a[1], b[1]) - radius);
  const y1 = Math.ceil(Math.max(a[1], b[1]) + radius) + 1;
  return spans(mask, y0, y1, span, choose);
}

function crossings(points, y) {
  const found = [];
  for (let i = 0; i < points.length; i++) {
    const [x0, y0] = points[i];
    const [x1, y1] = points[(i + 1) % points.length];
    if (y0 <= y !== y1 <= y) found.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
  }
  return found.sort((p, q) => p - q);
}

/** Covers the inside of a polygon by the even-odd rule. */
export function drawPolygon(mask, points, choose) {
  const ys = points.map((point) => point[1]);
  const span = (row) => {
    const at = crossings(points, row + 0.5);
    return at.flatMap((x, i) => (i % 2 ? [] : [[x, at[i + 1]]]));
  };
  return spans(mask, Math.floor(Math.min(...ys)), Math.ceil(Math.max(...ys)) + 1, span, choose);
}

/**
 * Covers the connected pixels of one id around a point.
 *
 * Background that reaches the border of the frame is not filled: {rect: null, open: true}.
 */
export function fillArea(mask, point, choose) {
  const { ids, width, height } = mask;
  const [x, y] = point.map(Math.floor);
  const target = ids[y * width + x];
  const seen = new Uint8Array(ids.length);
  const stack = [y * width + x];
  const area = [];
  let open = false;
  seen[stack[0]] = 1;
  const visit = (i) => {
    if (seen[i] || ids[i] !== target) return;
    seen[i] = 1;
    stack.push(i);
  };
  while (stack.length) {
    const i = stack.pop();
    area.push(i);
    const column = i % width;
    if (i < width || i >= ids.length - width || !column || column === width - 1) open = true;
    if (column > 0) visit(i - 1);
    if (column < width - 1) visit(i + 1);
    if (i >= width) visit(i - width);
    if (i < width * (height - 1)) visit(i + width);
  }
  if (open && target === 0) return { rect: null, open: true };
  let rect = null;
  let [x0, x1, y0, y1] = [width, 0, height, 0];
  for (const i of area) {
    const value = choose(target);
    if (ids[i] === value) continue;
    ids[i] = value;
    [x0, x1] = [Math.min(x0, i % width), Math.max(x1, (i % width) + 1)];
    const row = Math.floor(i / width);
    [y0, y1] = [Math.min(y0, row), Math.max(y1, row + 1)];
    rect = [x0, y0, x1, y1];
  }
  return { rect, open: false };
}

/** Replaces an object by another mask of it; pixels that `keep(i)` names stay. */
export function replaceObject(mask, object, inside, keep = () => false) {
  const { ids, width } = mask;
  let [x0, x1, y0, y1] = [width, 0, Infinity, 0];
  for (let i = 0; i < ids.length; i++) {
    const value = inside[i] ? object : ids[i] === object ? 0 : ids[i];
    if (value === ids[i] || keep(i)) continue;
    ids[i] = value;
    const column = i % width;
    const row = (i - column) / width;
    if (column < x0) x0 = column;
    if (column >= x1) x1 = column + 1;
    if (row < y0) y0 = row;
    y1 = row + 1;
  }
  return x1 ? [x0, y0, x1, y1] : null;
}

/** Copies a rectangle of a mask. */
export function cut(mask, rect) {
  const [x0, y0, x1, y1] = rect;
  const copy = new Uint8Array((x1 - x0) * (y1 - y0));
  for (let y = y0; y < y1; y++) {
    copy.set(mask.ids.subarray(y * mask.width + x0, y * mask.width + x1), (y - y0) * (x1 - x0));
  }
  return copy;
}

/** Puts what `cut` returned back. */
export function paste(mask, rect, patch) {
  const [x0, y0, x1, y1] = rect;
  for (let y = y0; y < y1; y++) {
    const row = patch.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0));
    mask.ids.set(row, y * mask.width + x0);
  }
}
