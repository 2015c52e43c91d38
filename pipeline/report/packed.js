// A decoder of packed files that follows docs/format.md: no dependencies, and nothing leaves the browser.

const PACKED = {
  magic: [0x89, 0x57, 0x46, 0x4e, 0x0d, 0x0a, 0x1a, 0x0a],
  sizes: {
    bool: 1, uint8: 1, int8: 1, float8_e4m3fn: 1, float8_e5m2: 1, float16: 2, bfloat16: 2, int16: 2,
    float32: 4, int32: 4, float64: 8, int64: 8, complex64: 8,
  },
  arrays: { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array },
  total: 16384, // what the frequencies of a table add up to
  lowest: 65536, // of a state
  limit: 128 * 2 ** 20,
  limitPerByte: 32,
};

// What is wrong with a file, in words.
class PackedError extends Error {}

function need(holds, otherwise) {
  if (!holds) throw new PackedError(otherwise);
}

function whole(value, below, what) {
  need(Number.isSafeInteger(value) && value >= 0 && value < below, `${what}: ${value} is not what it can be`);
  return value;
}

function list(value, what) {
  need(Array.isArray(value), `${what} must be a list`);
  return value;
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc32(...parts) {
  let sum = -1;
  for (const bytes of parts) for (let i = 0; i < bytes.length; i++) sum = CRC[(sum ^ bytes[i]) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

// At most `most` bytes; memory is taken for no more.
async function inflate(bytes, most) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => need(false, "a deflated part is damaged"));
    if (done) break;
    length += value.length;
    if (length > most) await reader.cancel();
    need(length <= most, "a deflated part holds more than it should");
    parts.push(value);
  }
  const content = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    content.set(part, at);
    at += part.length;
  }
  return content;
}

// Bit patterns whose bytes are grouped: the lowest byte of every value first.
async function grouped(section, count, size) {
  const content = await inflate(section, count * size);
  need(content.length === count * size, "a deflated part holds fewer values than it should");
  const bytes = new Uint8Array(count * size);
  for (let place = 0; place < size; place++)
    for (let i = 0; i < count; i++) bytes[i * size + place] = content[place * count + i];
  return patterns(bytes, size);
}

// Little-endian bytes as unsigned numbers, whatever the machine's own order is.
function patterns(bytes, size) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const read = { 1: "getUint8", 2: "getUint16", 4: "getUint32", 8: "getBigUint64" }[size];
  const values = new PACKED.arrays[size](bytes.length / size);
  for (let i = 0; i < values.length; i++) values[i] = view[read](i * size, true);
  return values;
}

// JSON.parse lets the last of several equal keys win.
function parseHeader(text) {
  let header;
  try {
    header = JSON.parse(text);
  } catch {
    need(false, "its header is no JSON");
  }
  const open = [];
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (colon) {
      const key = JSON.parse(string);
      need(!open.at(-1).has(key), "a key of its header is there twice");
      open.at(-1).add(key);
    }
  }
  need(header !== null && typeof header === "object", "its header is no object");
  return header;
}

// The header and the sections of a file, and its tables; all that can be checked before a tensor is decoded has been.
async function openPacked(buffer) {
  const bytes = new Uint8Array(buffer), view = new DataView(buffer), total = bytes.length;
  need(PACKED.magic.every((byte, i) => bytes[i] === byte), "it is no packed file");
  need(total >= 32, "it is cut off");
  const major = view.getUint16(8, true), length = view.getUint32(12, true);
  need(major === 1, `it has version ${major} of the format; this page reads version 1`);
  const written = view.getUint32(16, true) + 2 ** 32 * view.getUint32(20, true);
  need(written === total && 32 + length <= total, `it has ${total} bytes of ${written}: it is cut off or damaged`);
  const packed = bytes.subarray(32, 32 + length);
  need(view.getUint32(28, true) === crc32(bytes.subarray(0, 28), packed), "its header is damaged");
  need(view.getUint32(24, true) === 0, "its header is damaged");
  const plain = await inflate(packed, 4 * 2 ** 20);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plain);
  } catch {
    need(false, "its header is no text");
  }
  const header = parseHeader(text);
  const sections = [];
  let end = 32 + length;
  const zeros = () => {
    const start = 8 * Math.ceil(end / 8);
    need(start <= total && bytes.subarray(end, start).every(byte => byte === 0), "it is damaged between its sections");
    return start;
  };
  for (const [i, pair] of list(header.sections, "sections").entries()) {
    need(list(pair, `section ${i}`).length === 2, `section ${i}: a length and a CRC-32 are needed`);
    const start = zeros();
    end = start + whole(pair[0], total - start + 1, `section ${i}`);
    sections.push(bytes.subarray(start, end));
    need(crc32(sections[i]) === pair[1], `section ${i} is damaged`);
  }
  need(zeros() === total, "there is something behind its last section");
  need(sections.length >= 2, "codebooks and tables are missing");
  const isObject = value => typeof value === "object" && value !== null && !Array.isArray(value);
  need(isObject(header.metadata), "its metadata are no object");
  need(header.network === null || isObject(header.network), "its network is no object");
  const codebooks = readCodebooks(header, sections[0]);
  return { header, sections, codebooks, tables: readTables(header, codebooks, sections[1]), length: total };
}

function sizeOf(dtype) {
  need(Object.hasOwn(PACKED.sizes, dtype), `the type ${dtype} is unknown`);
  return PACKED.sizes[dtype];
}

function readCodebooks(header, section) {
  let at = 0;
  const codebooks = list(header.codebooks, "codebooks").map((book, i) => {
    const size = sizeOf(book?.dtype), start = at;
    at += size * whole(book.values, PACKED.total, `codebook ${i}`);
    need(at <= section.length, "its codebooks are cut off");
    return { dtype: book.dtype, values: patterns(section.subarray(start, at), size) };
  });
  need(at === section.length, "there is something behind its codebooks");
  return codebooks;
}

// Frequencies of the symbols of each table, and its codebook.
function readTables(header, codebooks, section) {
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      need(at < section.length && factor <= 2 ** 21, "a table is damaged");
      const byte = section[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  const tables = list(header.tables, "tables").map(number => {
    const codebook = codebooks[whole(number, codebooks.length, "a table's codebook")];
    const frequencies = new Uint32Array(codebook.values.length + 1);
    let sum = 0;
    for (let k = 0; k < frequencies.length; k++) {
      const frequency = varint();
      sum += frequency;
      if (frequency === 0) k += varint();
      need(sum <= PACKED.total && k < frequencies.length, "the frequencies of a table do not add up");
      if (frequency) frequencies[k] = frequency;
    }
    need(sum === PACKED.total, "the frequencies of a table do not add up");
    return { codebook, frequencies };
  });
  need(at === section.length, "there is something behind its tables");
  return tables;
}

// The tensors one after the other: what the header says of each (`entry`), its bit patterns in row-major order
// (`bits`), and which of them occur how often (`values`, `counts`). Of one that is the `same` as another only `entry`.
async function* tensorsOf({ header, sections, tables, length }) {
  const earlier = new Map(), unused = new Set(sections.keys());
  unused.delete(0);
  unused.delete(1);
  const section = number => {
    need(unused.delete(number), `section ${number} is not there for one tensor alone`);
    return sections[number];
  };
  let left = PACKED.limit + PACKED.limitPerByte * length;
  for (const entry of list(header.tensors, "tensors")) {
    const { name, dtype, shape } = entry ?? {};
    need(typeof name === "string" && !earlier.has(name), `there are two tensors ${name}`);
    need(list(shape, "a shape").length <= 8, `${name} has more than 8 dimensions`);
    const sides = shape.map(side => whole(side, 2 ** 48, `${name}: shape`));
    const product = least => sides.reduce((all, side) => all * Math.max(least, side), 1);
    whole(product(1), 2 ** 48, `${name}: shape`);
    const count = product(0);
    const size = sizeOf(dtype), ways = ["same", "raw", "table"].filter(way => Object.hasOwn(entry, way));
    const onlySame = ways.length === 1 && ways[0] === "same";
    need(ways.length === (count ? 1 : 0) || onlySame, `${name}: its values are nowhere, or in two places`);
    need(ways[0] === "table" || !("stream" in entry || "others" in entry), `${name}: a stream without a table`);
    earlier.set(name, entry);
    if (onlySame) {
      const first = earlier.get(entry.same);
      const alike = first && first !== entry && first.dtype === dtype && `${first.shape}` === `${shape}`;
      need(alike, `${name} is like no earlier tensor`);
      yield { entry };
      continue;
    }
    left -= count * size;
    need(left >= 0, "it takes more memory than a file of its length should");
    if (ways.length === 0) yield { entry, bits: new PACKED.arrays[size](0), values: [], counts: [] };
    else if (ways[0] === "raw") yield withCounts(entry, await grouped(section(entry.raw), count, size));
    else yield await coded(entry, count, tables[whole(entry.table, tables.length, `${name}: table`)], section);
  }
  need(unused.size === 0, "a section belongs to no tensor");
}

async function coded(entry, count, { codebook, frequencies }, section) {
  const { name, dtype } = entry, known = codebook.values, escape = known.length;
  need(codebook.dtype === dtype, `${name}: its codebook is of another type`);
  const only = frequencies.indexOf(PACKED.total), streamed = Object.hasOwn(entry, "stream");
  need(streamed || (only >= 0 && only < escape), `${name}: its stream is missing`);
  need(Object.hasOwn(entry, "others") === frequencies[escape] > 0, `${name}: its table says otherwise`);
  if (!streamed) {
    const bits = new PACKED.arrays[sizeOf(dtype)](count).fill(known[only]);
    return { entry, bits, values: [known[only]], counts: [count] };
  }
  const { indices, uses } = decodeStream(section(entry.stream), frequencies, count, name);
  const bits = new PACKED.arrays[sizeOf(dtype)](count);
  if (!Object.hasOwn(entry, "others")) {
    for (let i = 0; i < count; i++) bits[i] = known[indices[i]];
    const found = new Map(); // two values of a codebook may be the same
    known.forEach((value, k) => uses[k] && found.set(value, (found.get(value) ?? 0) + uses[k]));
    return { entry, bits, values: [...found.keys()], counts: [...found.values()] };
  }
  const others = await grouped(section(entry.others), uses[escape], sizeOf(dtype));
  for (let i = 0, next = 0; i < count; i++) bits[i] = indices[i] === escape ? others[next++] : known[indices[i]];
  return withCounts(entry, bits);
}

// The indices of a stream, and how often each symbol occurs.
function decodeStream(section, frequencies, count, name) {
  const lanes = count < 4096 ? 1 : 8, length = section.length;
  need(length >= 4 * lanes && length % 2 === 0, `${name}: its stream is too short`);
  const view = new DataView(section.buffer, section.byteOffset, length);
  const states = Uint32Array.from({ length: lanes }, (_, lane) => view.getUint32(4 * lane, true));
  const symbols = new Uint16Array(PACKED.total), places = new Uint16Array(PACKED.total);
  for (let k = 0, slot = 0; k < frequencies.length; k++)
    for (let place = 0; place < frequencies[k]; place++, slot++) {
      symbols[slot] = k;
      places[slot] = place;
    }
  const indices = new Uint16Array(count), uses = new Uint32Array(frequencies.length);
  let at = 4 * lanes;
  for (let i = 0; i < count; i++) {
    const lane = i & (lanes - 1), slot = states[lane] & 16383, k = symbols[slot];
    let x = (Math.imul(frequencies[k], states[lane] >>> 14) + places[slot]) >>> 0;
    if (x < PACKED.lowest) {
      if (at === length) break;
      x = ((x << 16) | view.getUint16(at, true)) >>> 0;
      at += 2;
    }
    states[lane] = x;
    indices[i] = k;
    uses[k]++;
  }
  let sum = 0;
  for (const use of uses) sum += use;
  need(sum === count && at === length && states.every(x => x === PACKED.lowest), `${name}: its stream ends elsewhere`);
  return { indices, uses };
}

function withCounts(entry, bits) {
  const sorted = bits.slice().sort(), values = [], counts = [];
  for (let i = 0, start = 0; i < sorted.length; i++)
    if (i + 1 === sorted.length || sorted[i + 1] !== sorted[i]) {
      values.push(sorted[i]);
      counts.push(i + 1 - start);
      start = i + 1;
    }
  return { entry, bits, values, counts };
}
