// The panel that refines a search: a control for every column of the gallery, and how results are ranked and shown.
import { choicesOf, readRange } from "./columns.js";

const byId = (id) => document.getElementById(id);
const panel = byId("refine");

const SWITCHES = {
  words: { label: "Words count too", hint: "Captions that hold the very words come first.", fits: ({ query, hasCaptions }) => query.text && hasCaptions },
  fold: { label: "Fold near-duplicates", hint: "Of pictures that look the same, only the best is shown.", fits: () => true },
  group: { label: "One result a picture", hint: "The captions of a picture are shown together.", fits: ({ target }) => target === "captions" },
};

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A tick box that looks like a chip; a radio button where only one may be chosen. */
function drawChoice({ type, name, label, isChosen, onChange }) {
  const input = make("input", { type, name, checked: isChosen });
  input.addEventListener("change", () => onChange(input.checked));
  return make("label", { className: "choice" }, input, make("span", { textContent: label }));
}

function drawChoices({ name, values }, chosen, change) {
  return values.map((value) => {
    const text = String(value);
    const onChange = (isChosen) => change(isChosen ? [...chosen, text] : chosen.filter((other) => other !== text));
    return drawChoice({ type: "checkbox", name, label: text, isChosen: chosen.includes(text), onChange });
  });
}

function drawSwitch({ name }, chosen, change) {
  const states = [["any", []], ["yes", ["yes"]], ["no", ["no"]]];
  return states.map(([label, values]) =>
    drawChoice({ type: "radio", name, label, isChosen: (chosen[0] ?? "any") === label, onChange: () => change(values) }),
  );
}

function drawRange({ label, least, most, step }, chosen, change) {
  const ends = readRange(chosen[0]) ?? [null, null];
  const [from, to] = ["from", "to"].map((end, place) => {
    const input = make("input", { type: "number", step, value: ends[place] ?? "", placeholder: (place ? most : least) ?? "" });
    input.setAttribute("aria-label", `${label} ${end}`);
    input.inputMode = step === "1" ? "numeric" : "decimal";
    return input;
  });
  const send = () => {
    if (!from.validity.valid || !to.validity.valid) return;
    const range = `${from.value}..${to.value}`;
    change(readRange(range) ? [range] : []);
  };
  from.addEventListener("change", send);
  to.addEventListener("change", send);
  return [make("span", { className: "range" }, from, make("span", { textContent: "to" }), to)];
}

function drawWords({ name, label, values }, chosen, change) {
  const known = make("datalist", { id: `values-of-${name}` }, ...values.map((value) => make("option", { value })));
  const input = make("input", { type: "text", placeholder: values.length ? "Type to choose" : "The exact words" });
  input.setAttribute("list", known.id);
  input.setAttribute("aria-label", label);
  const add = () => {
    const value = input.value.trim();
    if (value && !chosen.includes(value)) change([...chosen, value]);
  };
  input.addEventListener("change", add);
  const added = chosen.map((value) =>
    drawChoice({ type: "checkbox", name, label: value, isChosen: true, onChange: () => change(chosen.filter((other) => other !== value)) }),
  );
  return [make("span", { className: "typed" }, input, known), ...added];
}

const DRAW = { choices: drawChoices, switch: drawSwitch, range: drawRange, words: drawWords };

/**
 * Draw the panel. `asked` is {query, target, refinement, columns, hasCaptions}; `change(refinement)` starts the refined search.
 * The focus stays on the control that was used.
 */
export function drawPanel(asked, change) {
  const { columns, refinement } = asked;
  const focused = placeOfFocus();
  const fieldsets = columns.map((column) => {
    const set = (values) => change({ ...refinement, where: { ...refinement.where, [column.name]: values } });
    const controls = DRAW[column.control](column, refinement.where[column.name] ?? [], set);
    const field = make("fieldset", {}, make("legend", { textContent: column.label }), make("div", { className: "choices" }, ...controls));
    field.dataset.column = column.name;
    return field;
  });
  byId("refine-columns").replaceChildren(...fieldsets);
  const switches = Object.entries(SWITCHES)
    .filter(([, { fits }]) => fits(asked))
    .map(([name, { label, hint }]) => {
      const input = make("input", { type: "checkbox", name, checked: refinement[name] });
      input.setAttribute("role", "switch");
      input.addEventListener("change", () => change({ ...refinement, [name]: input.checked }));
      return make("label", { className: "switch" }, make("span", {}, make("b", { textContent: label }), make("small", { textContent: hint })), input);
    });
  byId("refine-switches").replaceChildren(...switches);
  restoreFocus(focused);
}

function placeOfFocus() {
  if (!panel.contains(document.activeElement)) return null;
  const inputs = [...panel.querySelectorAll("input")];
  const { name, ariaLabel, parentElement } = document.activeElement;
  return { name, ariaLabel, label: parentElement.textContent, place: inputs.indexOf(document.activeElement) };
}

function restoreFocus(focused) {
  if (!focused) return;
  const inputs = [...panel.querySelectorAll("input")];
  const same = ({ name, ariaLabel, parentElement }) =>
    name === focused.name && ariaLabel === focused.ariaLabel && (ariaLabel || parentElement.textContent === focused.label);
  (inputs.find(same) ?? inputs[Math.min(focused.place, inputs.length - 1)] ?? panel).focus({ preventScroll: true });
}

/** Draw what refines the search as chips that take it back, and their number beside the button. */
export function drawChips({ columns, refinement }, change) {
  const chips = choicesOf(columns, refinement.where).map(({ column, value, text }) => ({
    text,
    without: { ...refinement, where: { ...refinement.where, [column]: refinement.where[column].filter((other) => other !== value) } },
  }));
  for (const [name, { label }] of Object.entries(SWITCHES)) {
    if (refinement[name]) chips.push({ text: label, without: { ...refinement, [name]: false } });
  }
  const items = chips.map(({ text, without }) => {
    const button = make("button", { type: "button", textContent: text });
    button.setAttribute("aria-label", `Remove: ${text}`);
    button.addEventListener("click", () => {
      change(without);
      (byId("active").querySelector("button") ?? byId("open-refine")).focus();
    });
    return make("li", {}, button);
  });
  byId("active").replaceChildren(...items);
  byId("active").hidden = !items.length;
  byId("clear-refine").hidden = !items.length;
  byId("refine-count").textContent = items.length || "";
  byId("open-refine").setAttribute("aria-label", items.length ? `Refine, ${items.length} in use` : "Refine");
}
