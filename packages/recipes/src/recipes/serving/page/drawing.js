// The picture with the boxes of its views, their table, and what was relevant for a word.

const SVG = "http://www.w3.org/2000/svg";
// Distinguishable also without red and green, on light and on dark.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8860b", "#7a5195"];

function element(name, attributes, ...inside) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...inside);
  return made;
}

function cell(text, name = "td") {
  const made = document.createElement(name);
  made.textContent = text;
  if (name === "th") made.scope = "col";
  return made;
}

const percent = (part) => `${Math.round(100 * part)} %`;

export function drawCut(name, picture, found) {
  const all = document.createElement("div");
  const title = document.createElement("h3");
  title.textContent = name;
  all.append(title, overlay(name, picture, found), costs(found), table(name, found));
  return all;
}

function overlay(name, picture, found) {
  const { width, height } = found;
  const boxes = found.views.map((view) => view.box);
  const left = Math.min(0, ...boxes.map((box) => box[0]));
  const top = Math.min(0, ...boxes.map((box) => box[1]));
  const right = Math.max(width, ...boxes.map((box) => box[2]));
  const bottom = Math.max(height, ...boxes.map((box) => box[3]));
  const size = Math.max(right - left, bottom - top) / 100;
  const label = `${picture.name}, ${width} by ${height} pixels, cut into ${found.views.length} views by ${name}`;
  const drawn = element("svg", {
    viewBox: `${left - size} ${top - size} ${right - left + 2 * size} ${bottom - top + 2 * size}`,
    class: "cut", role: "img", "aria-label": label, "data-model": name,
  });
  drawn.append(element("image", { href: picture.url, width, height, preserveAspectRatio: "none" }));
  drawn.append(element("image", { class: "relevance", width, height, preserveAspectRatio: "none" }));
  const seen = new Map();
  const labels = new Map();
  found.views.forEach((view, number) => {
    const [x, y, end, below] = view.box;
    const repeated = seen.get(String(view.box)) ?? 0;
    seen.set(String(view.box), repeated + 1);
    // Views of the same part are drawn inside of each other, so that each can be seen.
    const inset = Math.min(size * repeated, 0.4 * Math.min(end - x, below - y));
    const colour = COLOURS[number % COLOURS.length];
    const place = { x: x + inset, y: y + inset };
    drawn.append(element("rect", {
      ...place, width: end - x - 2 * inset, height: below - y - 2 * inset, fill: "none", stroke: colour, "stroke-width": size / 2,
    }));
    // Labels in the same corner stand beside each other.
    const before = labels.get(`${x} ${y}`) ?? 0;
    labels.set(`${x} ${y}`, before + 1);
    const text = { x: place.x + size * (1 + 5 * before), y: place.y + 5 * size, "font-size": 4 * size };
    drawn.append(element("text", { ...text, fill: "#fff", stroke: "#000", "stroke-width": size, "paint-order": "stroke" }, String(number + 1)));
  });
  return drawn;
}

function costs(found) {
  const said = document.createElement("p");
  const padded = found.padding >= 0.005 ? `; ${percent(found.padding)} of the encoded pixels are padding` : "";
  const squashed = found.squash >= 1.02 ? `; sides are squashed up to ${found.squash.toFixed(2)} times` : "";
  said.textContent = `${found.views.length} views, ${found.visual_tokens} visual tokens${padded}${squashed}. In the prompt: ${found.order}`;
  return said;
}

function table(name, found) {
  const made = document.createElement("table");
  const caption = document.createElement("caption");
  const head = made.createTHead().insertRow();
  const body = made.createTBody();
  caption.textContent = "Scale: pixels of the view for each pixel of the picture";
  made.prepend(caption);
  head.append(...["view", "pixels", "scale", "padding", "tokens"].map((name) => cell(name, "th")));
  found.views.forEach((view, number) => {
    const cells = [number + 1, `${view.width} x ${view.height}`, view.scale, percent(view.padding), view.tokens ?? ""];
    body.insertRow().append(...cells.map((text) => cell(text)));
  });
  const scrolled = document.createElement("div");
  scrolled.className = "scroll";
  scrolled.tabIndex = 0;
  scrolled.setAttribute("role", "region");
  scrolled.setAttribute("aria-label", `Views of ${name}`);
  scrolled.append(made);
  return scrolled;
}

// Lays a map, rows of numbers in 0..1, over the picture of a model.
export function drawRelevance(name, word) {
  const canvas = document.createElement("canvas");
  canvas.height = word.map.length;
  canvas.width = word.map[0].length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  word.map.flat().forEach((value, place) => {
    pixels.data.set([255, 60, 0, Math.round(200 * value)], 4 * place);
  });
  context.putImageData(pixels, 0, 0);
  for (const drawn of document.querySelectorAll("svg.cut")) {
    if (drawn.dataset.model !== name) continue;
    drawn.querySelector(".relevance").setAttribute("href", canvas.toDataURL());
    drawn.querySelector(".relevance").dataset.word = word.word;
  }
}
