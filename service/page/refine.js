// The panel that refines a search: a control for every column of the gallery, and how results are ranked and shown.
import { choicesOf, readRange } from "./columns.js";

const byId = (id) => document.getElementById(id);

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
function drawChoice({ type, name, label, onChange }) {
  const input = make("input", { type, name });
  input.addEventListener("change", () => onChange(input.checked));
  return { input, element: make("label", { className: "choice" }, input, make("span", { textContent: label })) };
}

// Each control is {elements, update(chosen)}: `choose(change)` is told how the choices of its column change.

function drawChoices({ name, values }, choose) {
  const choices = values.map((value) => {
    const text = String(value);
    const onChange = (isChosen) => choose((chosen) => (isChosen ? [...chosen, text] : chosen.filter((other) => other !== text)));
    return { text, ...drawChoice({ type: "checkbox", name, label: text, onChange }) };
  });
  return {
    elements: choices.map(({ element }) => element),
    update: (chosen) => choices.forEach(({ text, input }) => (input.checked = chosen.includes(text))),
  };
}

function drawSwitch({ name }, choose) {
  const states = ["any", "yes", "no"].map((label) => {
    const onChange = () => choose(() => (label === "any" ? [] : [label]));
    return { label, ...drawChoice({ type: "radio", name, label, onChange }) };
  });
  return {
    elements: states.map(({ element }) => element),
    update: (chosen) => states.forEach(({ label, input }) => (input.checked = label === (chosen[0] ?? "any"))),
  };
}

function drawRange({ label, least, most, step }, choose) {
  const ends = ["from", "to"].map((end, place) => {
    const input = make("input", { type: "number", step, placeholder: (place ? most : least) ?? "" });
    input.setAttribute("aria-label", `${label} ${end}`);
    input.inputMode = step === "1" && least >= 0 ? "numeric" : "text"; // the digits of some phones lack a minus
    return input;
  });
  const send = () => {
    if (!ends.every((input) => input.validity.valid)) return;
    const range = ends.map((input) => input.value).join("..");
    choose(() => (readRange(range) ? [range] : []));
  };
  for (const input of ends) input.addEventListener("change", send);
  return {
    elements: [make("span", { className: "range" }, ends[0], make("span", { textContent: "to" }), ends[1])],
    update(chosen) {
      const values = readRange(chosen[0]) ?? [null, null];
      // An end that somebody is writing at the moment stays as it is.
      ends.forEach((input, place) => input === document.activeElement || (input.value = values[place] ?? ""));
    },
  };
}

function drawWords({ name, label, values }, choose) {
  const known = make("datalist", { id: `values-of-${name}` }, ...values.map((value) => make("option", { value })));
  const input = make("input", { type: "text", placeholder: values.length ? "Type to choose" : "The exact words" });
  input.setAttribute("list", known.id);
  input.setAttribute("aria-label", label);
  input.addEventListener("change", () => {
    const value = input.value.trim();
    input.value = "";
    if (value) choose((chosen) => (chosen.includes(value) ? chosen : [...chosen, value]));
  });
  const added = make("span", { className: "choices" });
  return {
    elements: [make("span", { className: "typed" }, input, known), added],
    update(chosen) {
      const hadFocus = added.contains(document.activeElement);
      const choices = chosen.map((value) => {
        const onChange = () => choose((others) => others.filter((other) => other !== value));
        const choice = drawChoice({ type: "checkbox", name, label: value, onChange });
        choice.input.checked = true;
        return choice.element;
      });
      added.replaceChildren(...choices);
      if (hadFocus) input.focus();
    },
  };
}

const DRAW = { choices: drawChoices, switch: drawSwitch, range: drawRange, words: drawWords };

let shown = { key: null, asked: null, change: null, updates: [] };

/**
 * Draw the panel. `asked` is {query, target, refinement, columns, hasCaptions}; `change(refinement)` starts the refined
 * search. While the columns stay the same so do the controls: nobody loses the one under the finger.
 */
export function drawPanel(asked, change) {
  const switches = Object.entries(SWITCHES).filter(([, { fits }]) => fits(asked));
  const key = JSON.stringify([asked.target, asked.columns, switches.map(([name]) => name)]);
  Object.assign(shown, { asked, change });
  if (key !== shown.key) {
    shown.key = key;
    const columns = asked.columns.map(drawColumn);
    const drawn = switches.map(drawOption);
    byId("refine-columns").replaceChildren(...columns.map(({ element }) => element));
    byId("refine-switches").replaceChildren(...drawn.map(({ element }) => element));
    shown.updates = [...columns, ...drawn].map(({ update }) => update);
  }
  for (const update of shown.updates) update(asked.refinement);
}

function drawColumn(column) {
  const choose = (changed) => {
    const { where } = shown.asked.refinement;
    shown.change({ ...shown.asked.refinement, where: { ...where, [column.name]: changed(where[column.name] ?? []) } });
  };
  const { elements, update } = DRAW[column.control](column, choose);
  const element = make("fieldset", {}, make("legend", { textContent: column.label }), make("div", { className: "choices" }, ...elements));
  return { element, update: ({ where }) => update(where[column.name] ?? []) };
}

function drawOption([name, { label, hint }]) {
  const input = make("input", { type: "checkbox", name });
  input.setAttribute("role", "switch");
  input.addEventListener("change", () => shown.change({ ...shown.asked.refinement, [name]: input.checked }));
  const words = make("span", {}, make("b", { textContent: label }), make("small", { textContent: hint }));
  return { element: make("label", { className: "switch" }, words, input), update: (refinement) => (input.checked = refinement[name]) };
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
