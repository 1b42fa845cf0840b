// Items come in the order of the data; they are shown worst first, those without a score last.
const items = JSON.parse(document.getElementById("items").textContent);
const order = items.map((_, number) => number).sort((one, other) => rank(one) - rank(other) || one - other);
const BINS = 10;
const LONG = 1000;
const pressed = new Set();
const rows = new Map();
let shown = [];

function rank(number) {
  return items[number].score ?? 2;
}

/** An element with attributes and children; texts are never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Control characters as signs that can be seen. */
function visible(text) {
  return text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, (sign) => String.fromCharCode(0x2400 + sign.charCodeAt(0)));
}

function count(number) {
  return `${number.toLocaleString("en")} ${number === 1 ? "item" : "items"}`;
}

// The parts of the page.

const controls = make("form", { class: "filters", role: "search", "aria-label": "Choose items" });
const search = make("input", { type: "search", autocomplete: "off" });
const group = make("select");
const from = make("input", { type: "number", min: 0, max: 1, step: "any", placeholder: 0 });
const to = make("input", { type: "number", min: 0, max: 1, step: "any", placeholder: 1 });
const histogram = make("div", { class: "histogram", role: "group", "aria-label": "Items by score" });
const status = make("p", { role: "status" });
const list = make("ol", { class: "items", "aria-label": "Items, worst first" });

function labelled(name, input) {
  return make("label", {}, name, input);
}

function build() {
  const scored = items.some((item) => item.score !== null);
  const names = [...new Set(items.map((item) => item.group))].sort();
  if (scored) controls.append(histogram, labelled("score from", from), labelled("to", to));
  if (names.length > 1) {
    group.append(make("option", { value: "" }, "all"));
    names.forEach((name, number) => {
      const inside = items.filter((item) => item.group === name).length;
      group.append(make("option", { value: number + 1 }, `${visible(name) || "(none)"} (${inside})`));
    });
    group.names = ["", ...names];
    controls.append(labelled("group", group));
  }
  controls.append(labelled("text", search), make("button", { type: "reset" }, "Reset"));
  const keys = make("p", { class: "quiet" }, make("kbd", {}, "j"), " next, ", make("kbd", {}, "k"), " previous item, ",
    make("kbd", {}, "/"), " search; a picture opens with a click or Enter");
  document.querySelector("main").append(controls, status, keys, list);
}

// What is shown.

function bin(score) {
  return score === null ? BINS : Math.min(Math.floor(score * BINS), BINS - 1);
}

function haystack(item) {
  item.lower ??= [item.key, item.question, item.answer, ...item.references].join("\n").toLowerCase();
  return item.lower;
}

function select() {
  const wanted = search.value.trim().toLowerCase();
  const name = group.names?.[group.value];
  const low = from.value === "" ? -Infinity : Number(from.value);
  const high = to.value === "" ? Infinity : Number(to.value);
  const ranged = low !== -Infinity || high !== Infinity;
  const found = order.filter((number) => {
    const item = items[number];
    return (!group.value || item.group === name) && (!wanted || haystack(item).includes(wanted));
  });
  drawHistogram(found);
  shown = found.filter((number) => {
    const score = items[number].score;
    const inside = score === null ? !ranged : low <= score && score <= high;
    return inside && (!pressed.size || pressed.has(bin(score)));
  });
  const scores = shown.map((number) => items[number].score).filter((score) => score !== null);
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  status.textContent = `${count(shown.length)} of ${items.length.toLocaleString("en")}` +
    (scores.length ? `, mean score ${mean.toFixed(4)}` : "");
  list.replaceChildren(...shown.map(row));
}

function drawHistogram(numbers) {
  const counts = new Array(BINS + 1).fill(0);
  for (const number of numbers) counts[bin(items[number].score)] += 1;
  const most = Math.max(...counts, 1);
  const buttons = counts.map((each, number) => {
    if (number === BINS && !items.some((item) => item.score === null)) return "";
    const range = number === BINS ? "not scored" : `score ${number / BINS} to ${(number + 1) / BINS}`;
    const bar = make("span", { class: "bar" });
    bar.style.height = `${(each / most) * 4}rem`;
    const label = number === BINS ? "none" : `${number / BINS}`;
    const button = make("button", { type: "button", "aria-pressed": pressed.has(number), "aria-label": `${range}: ${count(each)}`, title: range },
      make("span", {}, `${each}`), bar, make("span", {}, label));
    button.addEventListener("click", () => {
      if (!pressed.delete(number)) pressed.add(number);
      select();
      histogram.children[number].focus();
    });
    return button;
  });
  histogram.replaceChildren(...buttons);
}

// Rows are filled when they are about to be seen, so that thousands open at once.

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) fill(entry.target);
}, { rootMargin: "800px" });

function row(number) {
  if (!rows.has(number)) {
    const item = items[number];
    const element = make("li", { class: "item", tabindex: -1 }, heading(item));
    element.number = number;
    rows.set(number, element);
    watcher.observe(element);
  }
  return rows.get(number);
}

function heading(item) {
  const kind = item.score === null ? "quiet" : item.score >= 1 ? "right" : item.score > 0 ? "partly" : "wrong";
  const score = item.score === null ? "not scored" : `score ${Number(item.score.toFixed(4))}`;
  const title = make("h3", { dir: "auto" }, make("span", { class: "key" }, visible(item.key)), make("span", { class: `score ${kind}` }, score));
  if (item.group) title.append(make("span", { class: "quiet" }, visible(item.group)));
  return title;
}

function fill(element) {
  watcher.unobserve(element);
  if (element.childElementCount > 1) return;
  const item = items[element.number];
  if (item.pictures.length) element.append(make("div", { class: "pictures" }, ...item.pictures.flatMap((each, number) => pictures(item, each, number))));
  const references = make("ul", {}, ...item.references.map((each) => make("li", {}, ...clipped(each))));
  const texts = make("dl", { class: "texts" });
  for (const [name, content, kind] of [
    ["question", clipped(item.question), ""], ["answer", clipped(item.answer), "answer"], ["accepted", [references], ""],
  ]) texts.append(make("div", {}, make("dt", {}, name), make("dd", { dir: "auto", class: kind }, ...content)));
  element.append(texts);
}

/** A text; of a long one the beginning, with a button for the rest. */
function clipped(text) {
  if (text === "") return [make("span", { class: "quiet" }, "(empty)")];
  if (text.length <= LONG) return [visible(text)];
  const begin = document.createTextNode(`${visible(text.slice(0, LONG))}… `);
  const button = make("button", { type: "button" }, `Show all ${text.length.toLocaleString("en")} characters`);
  button.addEventListener("click", () => {
    begin.data = visible(text);
    button.remove();
  });
  return [begin, button];
}

function pictures(item, each, number) {
  if (each.fault !== undefined) return [make("p", {}, visible(each.fault))];
  const made = [picture(each.picture, `Picture ${number + 1} of ${visible(item.key)}`)];
  (each.boxes ?? []).forEach((sides, place) => {
    const box = make("span", { class: "box" });
    ["left", "top", "width", "height"].forEach((side, which) => { box.style[side] = `${sides[which] * 100}%`; });
    made[0].append(box);
    made.push(picture(each.crops[place], `Where the answer stands in picture ${number + 1} of ${visible(item.key)}`));
  });
  return made;
}

function image(number, description) {
  const source = document.getElementById(`picture-${number}`).textContent;
  const made = make("img", { src: `data:image/webp;base64,${source}`, alt: description });
  // Drawn pages of few pixels are enlarged without blurring them.
  made.addEventListener("load", () => {
    if (Math.max(made.naturalWidth, made.naturalHeight) >= 200) return;
    made.classList.add("small");
    made.width = made.naturalWidth * 2;
  });
  return made;
}

function picture(number, description) {
  const button = make("button", { type: "button", class: "picture" }, image(number, description));
  button.addEventListener("click", () => enlarge(image(number, description)));
  return button;
}

// Keys and events.

function move(step) {
  const at = document.activeElement?.closest(".item");
  const place = at ? shown.indexOf(at.number) + step : 0;
  if (place < 0 || place >= shown.length) return;
  const element = rows.get(shown[place]);
  fill(element);
  element.focus();
  element.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || enlarged.open) return;
  if (event.target.matches("input, select")) return;
  const action = { j: () => move(1), k: () => move(-1), "/": () => search.focus() }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

let waiting = 0;
controls.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(select, 120);
});
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("reset", () => {
  pressed.clear();
  setTimeout(select);
});

build();
select();
