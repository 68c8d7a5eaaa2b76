/** PNG files of object ids: 8-bit palette images, one byte a pixel. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function checksum(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = CRC[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** Returns the palette of DAVIS, RGB bytes of 256 colors. */
export function davisPalette() {
  const colors = new Uint8Array(768);
  for (let index = 0; index < 256; index++) {
    for (let digit = 0; digit < 8; digit++) {
      for (let channel = 0; channel < 3; channel++) {
        colors[3 * index + channel] |= ((index >> (3 * digit + channel)) & 1) << (7 - digit);
      }
    }
  }
  return colors;
}

function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = type.charCodeAt(i);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, checksum(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

async function through(bytes, transform) {
  const stream = new Blob([bytes]).stream().pipeThrough(transform);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Encodes ids, Uint8Array of width * height, as a palette PNG; resolves to its bytes. */
export async function encodeMask(ids, width, height) {
  const rows = new Uint8Array((width + 1) * height); // a leading 0: rows are not filtered
  for (let y = 0; y < height; y++) {
    rows.set(ids.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  const packed = await through(rows, new CompressionStream("deflate"));
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 3, 0, 0, 0], 8);
  const parts = [
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", header),
    chunk("PLTE", davisPalette()),
    chunk("IDAT", packed),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Decodes a gray or palette PNG of up to 8 bits; resolves to {ids, width, height}. */
export async function decodeMask(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(bytes.buffer);
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) throw new Error("A mask is a PNG file.");
  const data = [];
  let width = 0, height = 0, depth = 8;
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") {
      width = view.getUint32(at + 8);
      height = view.getUint32(at + 12);
      depth = body[8];
      if (![0, 3].includes(body[9]) || depth > 8 || body[12]) {
        throw new Error("A mask is a gray or palette PNG of up to 8 bits.");
      }
    } else if (type === "IDAT") {
      data.push(body);
    }
    at += 12 + length;
  }
  const packed = new Uint8Array(await new Blob(data).arrayBuffer());
  const rows = await through(packed, new DecompressionStream("deflate"));
  return { ids: unpack(rows, width, height, depth), width, height };
}

function unpack(rows, width, height, depth) {
  const stride = Math.ceil((width * depth) / 8);
  const ids = new Uint8Array(width * height);
  let before = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1);
    const row = rows.subarray(start + 1, start + 1 + stride);
    unfilter(row, before, rows[start]);
    if (depth === 8) {
      ids.set(row, y * width);
    } else {
      const mask = (1 << depth) - 1;
      for (let x = 0; x < width; x++) {
        const bit = x * depth;
        ids[y * width + x] = (row[bit >> 3] >> (8 - depth - (bit & 7))) & mask;
      }
    }
    before = row;
  }
  return ids;
}

/** Undoes the filter of a row of one byte a pixel in place. */
function unfilter(row, above, filter) {
  if (filter === 0) return;
  for (let x = 0; x < row.length; x++) {
    const a = x ? row[x - 1] : 0;
    const b = above[x];
    let guess;
    if (filter === 1) guess = a;
    else if (filter === 2) guess = b;
    else if (filter === 3) guess = (a + b) >> 1;
    else {
      const c = x ? above[x - 1] : 0;
      const p = a + b - c;
      const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
      guess = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
    }
    row[x] += guess;
  }
}
