// The line above the results: what was found, how well it fits, how long it took. Screen readers hear it.

const byId = (id) => document.getElementById(id);
const status = byId("status");

const LONGEST_QUOTE = 80; // characters
const WARNINGS = { caption_truncated: "Only the beginning of this sentence was read: it is longer than the model takes in." };

const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

/** What happened; the time beside it is not read out, and while somebody types (`isDraft`) nothing is. */
export function say(text, { timing = null, isDraft = false } = {}) {
  status.setAttribute("aria-live", isDraft ? "off" : "polite");
  status.textContent = text;
  const part = (name) => (timing?.[name] == null ? null : `${name} ${timing[name].toFixed(1)} ms`);
  byId("timing").textContent = timing ? `${Math.round(timing.total)} ms` : "";
  byId("timing").title = ["queue", "decode", "encode", "search", "fetch"].map(part).filter(Boolean).join(" · ");
}

/** Read out what was only shown while somebody typed. */
export function sayAloud() {
  if (status.getAttribute("aria-live") === "polite") return;
  status.setAttribute("aria-live", "polite");
  const said = status.textContent;
  status.textContent = "";
  requestAnimationFrame(() => (status.textContent ||= said));
}

function quote(query) {
  if (!query.text) return "this picture";
  return `“${query.text.length > LONGEST_QUOTE ? `${query.text.slice(0, LONGEST_QUOTE)}…` : query.text}”`;
}

/** One sentence on what was found. */
export function describeOutcome({ query, target, hits, isFiltered }) {
  const noun = target === "images" ? "picture" : "caption";
  if (!hits.length) return isFiltered ? `No ${noun} has what the filters ask for` : `Nothing found for ${quote(query)}`;
  return hits.length === 1 ? `The nearest ${noun} to ${quote(query)}` : `The ${hits.length} nearest ${noun}s to ${quote(query)}`;
}

function note(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}

/** Say calmly that perhaps nothing fits, and dim what was found nevertheless. */
export function showFit({ query, hits, fits }) {
  const isPoor = fits === false && hits.length > 0;
  document.body.classList.toggle("nothing-fits", isPoor);
  const unlike = query?.text ? `${quote(query)} is unlike the captions` : "This picture is unlike the pictures";
  note("fit-note", isPoor ? `${unlike} of this collection; perhaps nothing fits. These come nearest.` : "");
}

/** Say which filters of a kept address, or of the other gallery, were left out. */
export const showDropped = ({ dropped, target }) =>
  note("dropped-note", dropped && `Not filtered by ${dropped}: the ${target === "images" ? "pictures" : "captions"} here cannot be filtered by that.`);

export const showWarnings = (codes) => note("warning", codes.map((code) => WARNINGS[code] ?? code.replaceAll("_", " ")).join(" "));

export const showRestart = (isRestarted) =>
  note("restart-note", isRestarted ? "The collection was updated in the meantime: this is the new list, from its beginning." : "");

export function hideNotes() {
  showFit({ hits: [] });
  showDropped({ dropped: "" });
  showWarnings([]);
  showRestart(false);
}

/** What is served, in the footer. */
export function showIndex({ galleries }, index) {
  const facts = [`index ${index.version}`, `model ${index.checkpoint.slice(0, 8)}`];
  if (galleries.captions) facts.unshift(count(galleries.captions.count, "caption"));
  if (galleries.images) facts.unshift(count(galleries.images.count, "picture"));
  byId("index-facts").textContent = facts.join(" · ");
}
