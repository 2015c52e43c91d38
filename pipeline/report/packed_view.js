// What a packed file holds, on the page. Names and values come from the file: they are put in as text, never as markup.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

// A bit pattern as the number that it is, in one of the floating-point types.
function toNumber(pattern, dtype) {
  if (dtype === "float64") return new Float64Array(BigUint64Array.of(pattern).buffer)[0];
  if (dtype === "float32") return new Float32Array(Uint32Array.of(pattern).buffer)[0];
  const [exponents, fractions] = FLOATS[dtype], bias = 2 ** (exponents - 1) - 1;
  const sign = pattern >>> (exponents + fractions) ? -1 : 1;
  const exponent = (pattern >>> fractions) & (2 ** exponents - 1), fraction = pattern & (2 ** fractions - 1);
  const finite = dtype === "float8_e4m3fn" ? (pattern & 127) !== 127 : exponent !== 2 ** exponents - 1;
  if (!finite) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias - fractions)
    : sign * (2 ** fractions + fraction) * 2 ** (exponent - bias - fractions);
}

// Bits of exponent and of fraction.
const FLOATS = {
  bfloat16: [8, 7], float16: [5, 10], float8_e5m2: [5, 2], float8_e4m3fn: [4, 3], float32: [8, 23], float64: [11, 52],
};

function entropy(counts) {
  let total = 0, bits = 0;
  for (const count of counts) total += count;
  for (const count of counts) bits += (count * Math.log2(total / count)) / total;
  return bits;
}

function coding(entry) {
  if ("same" in entry) return `same as ${entry.same}`;
  if ("raw" in entry) return "as it is";
  if ("table" in entry) return "stream" in entry ? "coded" : "one value";
  return "empty";
}

// Every tensor as a row of the table, and how often each value occurs in the coded floating-point ones together.
async function contentsOf(packed, progress) {
  const layers = new Map(), usage = new Map();
  let unpacked = 0;
  for await (const { entry, bits, values, counts } of tensorsOf(packed)) {
    const { name, dtype, shape } = entry;
    const sections = [entry.raw, entry.stream, entry.others].filter(number => number !== undefined);
    const bytes = sections.reduce((sum, number) => sum + packed.sections[number].length, 0);
    const first = "same" in entry ? layers.get(entry.same) : undefined;
    const distinct = first ? first.distinct : values.length, each = first ? first.entropy : entropy(counts);
    layers.set(name, { name, dtype, shape, coding: coding(entry), distinct, entropy: each, bytes });
    unpacked += bits?.byteLength ?? 0;
    if ("table" in entry && dtype in FLOATS)
      values.forEach((value, i) => {
        const number = toNumber(value, dtype);
        usage.set(number, (usage.get(number) ?? 0) + counts[i]);
      });
    await progress(layers.size);
  }
  return { layers: [...layers.values()], usage, unpacked };
}

const COLUMNS = {
  name: ["Tensor"],
  dtype: ["Type"],
  shape: ["Shape", shape => shape.join(" × ") || "one number"],
  coding: ["Kept"],
  distinct: ["Distinct values", count => count.toLocaleString("en")],
  entropy: ["Entropy, bits a weight", bits => bits.toFixed(2)],
  bytes: ["Bytes", count => count.toLocaleString("en")],
};

// Sorted by the page's own script, as its other tables are.
function tableOf(layers) {
  const head = element("tr"), body = element("tbody");
  for (const [key, [heading]] of Object.entries(COLUMNS)) {
    const button = element("button", heading), cell = element("th", undefined, button);
    button.type = "button";
    cell.scope = "col";
    if (typeof layers[0]?.[key] === "number") cell.className = "number";
    head.append(cell);
  }
  for (const layer of layers) {
    const row = element("tr");
    for (const [key, [, format]] of Object.entries(COLUMNS)) {
      const cell = element("td", format ? format(layer[key]) : layer[key]);
      if (typeof layer[key] === "number") {
        cell.className = "number";
        cell.dataset.value = layer[key];
      }
      row.append(cell);
    }
    body.append(row);
  }
  const table = element("table", undefined, element("thead", undefined, head), body);
  const around = element("div", undefined, table);
  around.className = "table";
  return around;
}

const BARS = 24;

// The values used most, as bars with their shares.
function histogramOf(usage) {
  const all = [...usage].sort(([a, used], [b, other]) => other - used || a - b), shown = all.slice(0, BARS);
  const total = all.reduce((sum, [, used]) => sum + used, 0), height = 18, left = 110, width = 420;
  const drawn = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const many = all.length.toLocaleString("en");
  const caption = `The ${shown.length} values used most, of ${many}, and the share of the coded weights that has each.`;
  const across = left + width + 80, viewBox = `0 0 ${across} ${height * shown.length}`;
  const picture = drawn("svg", { viewBox, width: across, role: "img", "aria-label": caption });
  shown.forEach(([value, used], i) => {
    const share = used / total, middle = height * i + 13;
    picture.append(
      drawn("text", { x: left - 8, y: middle, "text-anchor": "end" }, String(Number(value.toPrecision(6)))),
      drawn("rect", { x: left, y: height * i + 2, width: (width * used) / shown[0][1], height: height - 4 }),
      drawn("text", { x: left + 6 + (width * used) / shown[0][1], y: middle }, `${(100 * share).toPrecision(3)} %`),
    );
  });
  return element("figure", undefined, picture, element("figcaption", caption));
}

const KNOWN = { top1: "Top-1, %", delta: "δ", alpha: "α" };

// What the file says of itself: its network, classes, and whatever of its metadata is a number or a text.
function factsOf(packed, { usage, unpacked }) {
  const { network, metadata } = packed.header, facts = element("dl");
  const fact = (term, text) => facts.append(element("dt", term), element("dd", text));
  if (typeof network?.timm === "string") fact("Network", network.timm);
  if (Array.isArray(network?.classes)) fact("Classes", network.classes.length.toLocaleString("en"));
  const described = Object.entries(metadata ?? {}).filter(([, value]) => ["number", "string"].includes(typeof value));
  for (const [key, value] of described) fact(Object.hasOwn(KNOWN, key) ? KNOWN[key] : key, String(value));
  fact("Bytes", packed.length.toLocaleString("en"));
  fact("Smaller than its tensors in memory", `${(unpacked / packed.length).toFixed(1)} times`);
  const bits = entropy([...usage.values()]).toFixed(2);
  if (usage.size) fact("Coded weights", `${usage.size.toLocaleString("en")} distinct values, ${bits} bits each`);
  return facts;
}

{
  const section = document.getElementById("packed"), zone = section.querySelector(".drop");
  const input = section.querySelector("input"), said = section.querySelector("[role=status]");
  const shown = section.querySelector(".contents");
  let latest = 0;

  const show = async file => {
    const mine = ++latest; // a file chosen later wins
    shown.replaceChildren();
    said.className = "note";
    said.textContent = `${file.name} is being read`;
    try {
      const packed = await openPacked(await file.arrayBuffer());
      const contents = await contentsOf(packed, async done => {
        if (mine === latest) said.textContent = `${file.name}: ${done} of ${packed.header.tensors.length} tensors`;
        await new Promise(resolve => setTimeout(resolve));
      });
      if (mine !== latest) return;
      const histogram = contents.usage.size ? [histogramOf(contents.usage)] : [];
      shown.replaceChildren(factsOf(packed, contents), ...histogram, tableOf(contents.layers));
      said.textContent = `${file.name} is whole: ${contents.layers.length} tensors`;
    } catch (error) {
      if (mine !== latest) return;
      said.className = "wrong";
      said.textContent = `${file.name} cannot be read: ${error.message}`;
    }
  };

  input.addEventListener("change", () => input.files.length && show(input.files[0]));
  const over = event => {
    event.preventDefault();
    zone.classList.add("over");
  };
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, over);
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", event => {
    event.preventDefault();
    if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
  });
}
