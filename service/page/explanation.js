// Why a picture was found: its score is a sum over cells of the picture and words of the sentence, drawn over the picture.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const map = byId("heat-map");
const words = byId("explanation-words");
const told = byId("explanation-told");

const LONG_SIDE = 1000; // of the map's own coordinates, whatever the size of the picture on the screen
const GAP = 0.04; // of a cell
const FAINTEST = 0.02; // of the strongest cell; below it a cell is left clear

let shown = null; // {explanation, columns, sum, chosen}: chosen is the place of a word, or null for all of them

const format = (value) => value.toFixed(3).replace("-", "−");

/** Draw the API's explanation of a sentence over a picture of that shape; null takes it away. */
export function drawExplanation(explanation, sentence, { width, height }) {
  shown = null;
  words.replaceChildren();
  map.replaceChildren();
  told.textContent = "";
  for (const element of [map, byId("explanation")]) element.toggleAttribute("hidden", !explanation);
  if (!explanation) return;
  const { matrix } = explanation;
  const columns = explanation.words.map((_, word) => matrix.map((row) => row[word]));
  const sum = matrix.map((row) => row.reduce((total, value) => total + value, 0));
  shown = { explanation, names: [], columns, sum, chosen: null };
  const scale = LONG_SIDE / Math.max(width, height);
  map.setAttribute("viewBox", `0 0 ${width * scale} ${height * scale}`);
  map.append(drawHatching(), ...explanation.regions.map((region) => drawCell(region, width * scale, height * scale)));
  const largest = Math.max(...columns.map((column) => Math.abs(total(column))), 1e-9);
  shown.names = explanation.words.map((word) => nameOf(word, sentence));
  words.append(drawWord("all words", null), ...shown.names.map((name, place) => drawWord(name, place, total(columns[place]) / largest)));
  show(null);
}

/** The word as it was written, counted in code points; a mark of the model's own by its name. */
const nameOf = ({ text, start, end }, sentence) => (end > start ? [...sentence].slice(start, end).join("") : text.replace(/[<>[\]]/g, ""));

const total = (column) => column.reduce((sum, value) => sum + value, 0);

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** What takes away from the score is hatched too: colour alone tells nobody. */
function drawHatching() {
  const pattern = make("pattern", { id: "hatching", width: 16, height: 16, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(make("rect", { class: "cool", width: 16, height: 16 }), make("rect", { class: "hatch", width: 5, height: 16 }));
  const definitions = make("defs", {});
  definitions.append(pattern);
  return definitions;
}

/** A cell of the picture; a region without a place has none. */
function drawCell({ box }, width, height) {
  const [left, top, right, bottom] = box ?? [0, 0, 0, 0];
  const [x, y, w, h] = [left * width, top * height, (right - left) * width, (bottom - top) * height];
  const gap = GAP * Math.min(w, h);
  return make("rect", { x: x + gap / 2, y: y + gap / 2, width: w - gap, height: h - gap, rx: 2 * gap });
}

function drawWord(text, place, share = null) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  button.classList.toggle("all", place === null || shown.explanation.words[place].start === shown.explanation.words[place].end);
  if (share !== null) {
    // As long as the word's share of the score: the words themselves say which of them counted.
    const bar = document.createElement("i");
    bar.className = share < 0 ? "cool" : "warm";
    bar.style.width = `${100 * Math.abs(share)}%`;
    button.append(bar);
  }
  button.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && show(place));
  button.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && show(shown?.chosen ?? null));
  button.addEventListener("focus", () => button.matches(":focus-visible") && show(place));
  button.addEventListener("blur", () => show(shown?.chosen ?? null));
  button.addEventListener("click", () => {
    if (!shown) return;
    shown.chosen = shown.chosen === place ? null : place;
    show(shown.chosen);
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

/** Colour the cells by one word, or by the sum over all words. */
function show(place) {
  if (!shown) return;
  const { columns, sum, chosen } = shown;
  const values = place === null ? sum : columns[place];
  // Words share one scale, so that a word that hardly counts looks faint beside one that does.
  const strongest = Math.max(...(place === null ? sum : columns.flat()).map(Math.abs), 1e-9);
  map.querySelectorAll(":scope > rect").forEach((cell, region) => {
    const strength = Math.abs(values[region]) / strongest;
    cell.setAttribute("class", values[region] < 0 ? "takes" : "gives");
    cell.setAttribute("fill-opacity", strength < FAINTEST ? 0 : (0.8 * strength).toFixed(3));
  });
  [...words.querySelectorAll("button")].forEach((button, index) => {
    button.setAttribute("aria-pressed", String((index ? index - 1 : null) === chosen));
    button.classList.toggle("shown", (index ? index - 1 : null) === place);
  });
  told.textContent = tell(values, place === null ? null : shown.names[place]);
}

/** What the colours say, in words. */
function tell(values, word) {
  const worth = total(values);
  const { score, regions } = shown.explanation;
  const most = values.reduce((best, value, place) => (Math.sign(worth) * (value - values[best]) > 0 ? place : best), 0);
  const where = regions[most].box ? `, most of it ${describePlace(regions[most])}` : "";
  if (word === null) return `All words together: ${format(score)}${where}.`;
  if (worth < 0) return `“${word}” takes ${format(-worth)} away from ${format(score)}${where}.`;
  return `“${word}” gives ${format(worth)} of ${format(score)}${where}.`;
}

/** Where a cell lies. */
function describePlace({ box: [left, top, right, bottom] }) {
  const third = (middle, names) => names[Math.min(2, Math.floor(3 * middle))];
  const row = third((top + bottom) / 2, ["at the top", "in the middle", "at the bottom"]);
  const column = third((left + right) / 2, ["left", "", "right"]);
  return `${row} ${column}`.trim();
}

/** Left and right walk along the words, as they stand in the sentence. */
words.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  const buttons = [...words.querySelectorAll("button")];
  buttons[buttons.indexOf(document.activeElement) + step]?.focus();
});
