// The page: a picture, how each model cuts it, a question, and the answers as they come.
import { ask, explain, models, views } from "./server.js";
import { drawCut, drawRelevance } from "./drawing.js";

const at = (id) => document.getElementById(id);
let picture = null; // { url, name }
let cuts = 0; // what has been asked about cutting pictures: only the last answer is shown
let asking = null; // the AbortController of the questions under way
let looking = new AbortController(); // that of what is asked about their answers

const chosen = () => [...new Set([at("model").value, at("other").value])].filter(Boolean);
const key = () => at("key").value;

function say(message) {
  at("problem").textContent = message;
}

async function start() {
  try {
    const names = await models(key());
    for (const select of [at("model"), at("other")]) {
      for (const name of names) select.append(new Option(name, name));
    }
    say("");
    // A picture may have been chosen before the models, or this script, were there.
    await (picture ? cut() : show(at("file").files[0]));
  } catch (error) {
    at("key-field").hidden = error.status !== 401;
    say(error.status === 401 ? "This server wants an API key." : error.message);
  }
}

async function show(file) {
  if (!file) return;
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(file);
  });
  picture = { url, name: file.name || "the pasted picture" };
  await cut();
}

async function cut() {
  if (!picture) return;
  const asked = picture;
  const number = ++cuts;
  say("");
  const shown = [];
  for (const name of chosen()) {
    try {
      const found = await views(name, asked.url, key());
      shown.push(drawCut(name, asked, found));
    } catch (error) {
      if (number === cuts) say(`${name}: ${error.message}`);
    }
    if (number !== cuts) return;
  }
  at("models").replaceChildren(...shown);
}

async function answers(event) {
  event?.preventDefault();
  if (asking || !at("form").reportValidity()) return;
  const question = at("question").value;
  const asked = picture;
  asking = new AbortController();
  looking.abort();
  looking = new AbortController();
  at("ask").disabled = true;
  at("stop").disabled = false;
  at("answers").replaceChildren();
  await Promise.all(chosen().map((name) => answer(name, asked, question)));
  asking = null;
  at("ask").disabled = false;
  at("stop").disabled = true;
}

async function answer(name, asked, question) {
  const title = document.createElement("h3");
  const text = document.createElement("div");
  const counted = document.createElement("p");
  title.textContent = name;
  text.className = "answer";
  text.setAttribute("role", "status");
  text.setAttribute("aria-label", `Answer of ${name}`);
  counted.className = "hint";
  const all = document.createElement("div");
  all.append(title, text, counted);
  at("answers").append(all);
  try {
    const usage = await ask(name, asked?.url, question, key(), asking.signal, (piece) => text.append(piece));
    const { image_tokens: visual, text_tokens: words } = usage.prompt_tokens_details;
    const empty = text.textContent.trim() ? "" : "an empty answer; ";
    counted.textContent = `${empty}${visual} visual and ${words} text tokens read, ${usage.completion_tokens} written`;
    if (asked && text.textContent.trim()) offerWords(name, asked, question, text, counted);
  } catch (error) {
    if (error.name === "AbortError") {
      counted.textContent = "stopped";
    } else {
      counted.textContent = error.message;
      counted.classList.add("wrong");
    }
  }
}

function offerWords(name, asked, question, text, counted) {
  const said = counted.textContent;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Where did it look?";
  button.addEventListener("click", async () => {
    button.disabled = true;
    counted.textContent = said;
    counted.classList.remove("wrong");
    try {
      const found = await explain(name, asked.url, question, text.textContent, key(), looking.signal);
      text.setAttribute("role", "group");
      text.replaceChildren(...found.words.map((word) => wordButton(name, asked, word, text)));
      button.remove();
      text.querySelector("button")?.focus();
    } catch (error) {
      counted.textContent = error.message;
      counted.classList.add("wrong");
      button.disabled = false; // too many may have asked at the time
    }
  });
  counted.after(button);
}

function wordButton(name, asked, word, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `${word.word} `;
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `${word.word}: show where the model looked`);
  button.addEventListener("click", () => {
    for (const other of text.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", "true");
    if (asked === picture) drawRelevance(name, word);
  });
  return button;
}

at("file").addEventListener("change", (event) => show(event.target.files[0]));
at("form").addEventListener("submit", answers);
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) answers(event);
});
at("stop").addEventListener("click", () => asking?.abort());
at("model").addEventListener("change", cut);
at("other").addEventListener("change", cut);
at("key").addEventListener("change", async () => {
  at("model").replaceChildren();
  at("other").replaceChildren(new Option("no other", ""));
  await start();
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) show(file);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") show(event.dataTransfer.files[0]);
  });
}
start();
