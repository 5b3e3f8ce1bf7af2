// The search page: one query at a time, kept in the address, answered by the REST API.
import { readInfo, search } from "./api.js";
import { showExamples } from "./examples.js";
import { neighbour } from "./keys.js";
import { drawHit, drawProblem } from "./results.js";
import { openViewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const box = byId("query");
const list = byId("hits");
const more = byId("more");

const PAGE_SIZE = 24;
const SLOW_MS = 300; // from here on, say that the search is under way
const LONGEST_IN_ADDRESS = 1000; // characters of a sentence; longer ones live in the history alone
const WARNINGS = { caption_truncated: "Only the beginning of this sentence was read: it is longer than the model takes in." };

let info = null;
let query = null; // {text} | {file, url} | {id, url}
let target = null; // "images" | "captions"
let hits = [];
let next = null; // {offset, version} of the next page
let running = null; // AbortController of the request under way
const files = new Map(); // pictures given in this tab, by their key in the history

const hasGallery = (kind) => Boolean(info.galleries[kind]);

/** Sentences find pictures and pictures find captions, as far as the index holds them. */
function defaultTarget(asked) {
  const [usual, other] = asked.text ? ["images", "captions"] : ["captions", "images"];
  return hasGallery(usual) || !hasGallery(other) ? usual : other;
}

const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

// --- searching ---------------------------------------------------------------------------------

/** Start a new search and make it a step in the browser's history. */
function choose(asked, wanted = null) {
  const address = new URLSearchParams();
  if (asked.text?.length <= LONGEST_IN_ADDRESS) address.set("q", asked.text);
  if (asked.id) address.set("image", asked.id);
  if (!info) {
    // The service was not there yet: start over with the query in the address.
    if (address.size) location.assign(`?${address}`);
    return;
  }
  if (wanted && wanted !== defaultTarget(asked)) address.set("find", wanted);
  let key = null;
  if (asked.file) {
    key = asked.key ?? crypto.randomUUID?.() ?? String(Math.random());
    asked.key = key;
    files.set(key, asked);
  }
  history.pushState({ key, find: wanted, text: asked.text }, "", address.size ? `?${address}` : location.pathname);
  run(asked, wanted);
}

async function run(asked, wanted = null) {
  query = asked;
  target = wanted ?? defaultTarget(asked);
  showQuery();
  scrollTo({ top: 0 });
  await request({ offset: 0, version: null });
}

async function request({ offset, version }) {
  running?.abort();
  const mine = (running = new AbortController());
  const slow = setTimeout(() => say("Searching…"), SLOW_MS);
  setState(offset ? "results" : "loading");
  list.setAttribute("aria-busy", "true");
  document.body.classList.add("busy");
  try {
    const answer = await search(query, { target, limit: PAGE_SIZE, offset, version }, mine.signal);
    show(answer, offset);
  } catch (error) {
    if (error.name === "AbortError") return;
    next = null;
    more.hidden = true;
    setState("error");
    drawProblem(byId("problem"), error, () => request({ offset: 0, version: null }));
    say("");
  } finally {
    clearTimeout(slow);
    if (running === mine) {
      document.body.classList.remove("busy");
      list.setAttribute("aria-busy", "false");
    }
  }
}

function show(answer, offset) {
  if (!offset) {
    hits = [];
    list.replaceChildren();
  }
  list.dataset.target = target;
  hits.push(...answer.hits);
  list.append(...answer.hits.map((hit) => drawHit(hit, target, open)));
  next = answer.next_offset === null ? null : { offset: answer.next_offset, version: answer.index.version };
  more.hidden = next === null;
  setState(hits.length ? "results" : "nothing");
  if (offset) list.children[offset]?.querySelector("button").focus();

  say(describeOutcome(), answer.timing);
  const warnings = (answer.warnings ?? []).map((code) => WARNINGS[code] ?? code.replaceAll("_", " "));
  byId("warning").textContent = warnings.join(" ");
  byId("warning").hidden = !warnings.length;
  showIndex(answer.index);
}

const describe = (asked) => (asked.text ? `“${asked.text.length > 80 ? `${asked.text.slice(0, 80)}…` : asked.text}”` : "this picture");

function describeOutcome() {
  if (!hits.length) return `Nothing found for ${describe(query)}`;
  const noun = target === "images" ? "picture" : "caption";
  return hits.length === 1 ? `The nearest ${noun} to ${describe(query)}` : `The ${hits.length} nearest ${noun}s to ${describe(query)}`;
}

function open(hit) {
  if (hit.image) openViewer(hits, hits.indexOf(hit), { choose, hasCaptions: hasGallery("captions") });
  else if (hit.caption) choose({ text: hit.caption });
}

// --- what the page shows around the results ----------------------------------------------------

function setState(state) {
  document.body.dataset.state = state;
  byId("problem").hidden = state !== "error";
  byId("examples").hidden = state !== "empty" && state !== "nothing";
  byId("targets").hidden = state === "empty" || state === "error" || !(hasGallery("images") && hasGallery("captions"));
  if (state === "error" || state === "empty") list.replaceChildren();
  if (state !== "results") more.hidden = true;
  if (state !== "results" && state !== "nothing") byId("warning").hidden = true;
  if (state === "nothing" || state === "empty") showExamples({ choose, hasGallery });
}

function showQuery() {
  box.value = query?.text ?? "";
  const picture = byId("query-picture-image");
  byId("query-picture").hidden = !query?.url;
  byId("query-picture").classList.remove("missing");
  if (query?.url) picture.src = query.url;
  else picture.removeAttribute("src");
  box.placeholder = query?.url ? "or type a sentence" : "A sentence, or drop a picture";
  for (const button of byId("targets").children) button.setAttribute("aria-pressed", String(button.dataset.target === target));
  document.title = query ? `${query.text ?? "Picture"} · HREM search` : "HREM search";
}

/** What happened, read out by screen readers; the time beside it is not. */
function say(status, timing = null) {
  byId("status").textContent = status;
  const part = (name) => (timing?.[name] == null ? null : `${name} ${timing[name].toFixed(1)} ms`);
  byId("timing").textContent = timing ? `${Math.round(timing.total)} ms` : "";
  byId("timing").title = ["queue", "decode", "encode", "search", "fetch"].map(part).filter(Boolean).join(" · ");
}

function showIndex(index) {
  const { images, captions } = info.galleries;
  const facts = [`index ${index.version}`, `model ${index.checkpoint.slice(0, 8)}`];
  if (captions) facts.unshift(count(captions.count, "caption"));
  if (images) facts.unshift(count(images.count, "picture"));
  byId("index-facts").textContent = facts.join(" · ");
}

// --- input: sentence, picture, keys, history ------------------------------------------------------

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = box.value.trim();
  if (text) choose({ text }, query?.text && target !== defaultTarget({ text }) ? target : null);
  else if (query && !query.text) request({ offset: 0, version: null });
  else box.focus();
});

byId("home").addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", location.pathname);
  restore();
});

byId("targets").addEventListener("click", (event) => {
  const wanted = event.target.closest("button")?.dataset.target;
  if (wanted && wanted !== target) choose(query, wanted);
});

more.addEventListener("click", () => next && request(next));

function takePicture(file) {
  if (!file) return;
  choose({ file, url: URL.createObjectURL(file) });
}

const firstPicture = (transfer) => [...(transfer?.files ?? [])][0] ?? null;

byId("choose-picture").addEventListener("click", () => byId("picture-file").click());
byId("picture-file").addEventListener("change", (event) => {
  takePicture(event.target.files[0]);
  event.target.value = ""; // the same file can be chosen again
});
byId("query-picture-image").addEventListener("error", () => byId("query-picture").classList.add("missing"));
byId("remove-picture").addEventListener("click", () => {
  byId("home").click();
  box.focus();
});
addEventListener("paste", (event) => {
  const file = firstPicture(event.clipboardData);
  if (!file) return; // text goes into the box as usual
  event.preventDefault();
  takePicture(file);
});

let dragDepth = 0; // dragenter and dragleave fire for every element below the pointer
const isFileDrag = (event) => event.dataTransfer?.types.includes("Files");
const showVeil = (shown) => document.body.classList.toggle("dropping", shown);
addEventListener("dragenter", (event) => {
  if (isFileDrag(event)) showVeil(++dragDepth > 0);
});
addEventListener("dragleave", (event) => {
  if (isFileDrag(event)) showVeil(--dragDepth > 0);
});
addEventListener("dragover", (event) => {
  if (isFileDrag(event)) event.preventDefault();
});
addEventListener("drop", (event) => {
  dragDepth = 0;
  showVeil(false);
  const file = firstPicture(event.dataTransfer);
  if (!file) return;
  event.preventDefault();
  byId("viewer").close();
  takePicture(file);
});

addEventListener("keydown", (event) => {
  if (byId("viewer").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target === box;
  if (event.key === "/" && !typing) {
    box.focus();
    box.select();
  } else if (event.key === "Escape") {
    if (typing && box.value) box.value = "";
    else if (!typing) box.focus();
    else box.blur();
  } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
    if (typing && event.key !== "ArrowDown") return;
    const wanted = neighbour(event.key, list, box);
    if (!wanted) return;
    wanted.focus();
  } else return;
  event.preventDefault();
});

/** Bring the page into the state that the address and the history entry name. */
function restore() {
  const address = new URLSearchParams(location.search);
  const { key, find, ...state } = history.state ?? {};
  const wanted = address.get("find") ?? find ?? null;
  const text = state.text ?? address.get("q")?.trim();
  const id = address.get("image");
  if (text) return run({ text }, wanted);
  if (id) return run({ id, url: `images/${encodeURIComponent(id)}/thumbnail` }, wanted);
  if (key && files.has(key)) return run(files.get(key), wanted);
  running?.abort();
  query = target = next = null;
  hits = [];
  say("");
  showQuery();
  setState("empty");
}

async function start() {
  try {
    info = await readInfo();
  } catch (error) {
    document.body.dataset.state = "error";
    drawProblem(byId("problem"), error, () => location.reload());
    return;
  }
  addEventListener("popstate", restore);
  showIndex(info.index);
  restore();
}

document.body.dataset.state = location.search ? "loading" : "empty";
if (matchMedia("(hover: hover)").matches) box.focus();
start();
