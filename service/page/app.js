// The search page: one query at a time, kept in the address, answered by the REST API while it is typed.
import { readAddress, UNREFINED, writeAddress } from "./address.js";
import { onKeyNeeded, Problem, readInfo, search } from "./api.js";
import { filterOf, keepKnown, readColumns } from "./columns.js";
import { showExamples } from "./examples.js";
import { shrink, watchPictures } from "./intake.js";
import { watchKeys } from "./keys.js";
import { describeOutcome, hideNotes, say, sayAloud, showFit, showIndex, showRestart, showWarnings } from "./outcome.js";
import { watchEnd } from "./paging.js";
import { drawProblem } from "./problems.js";
import { drawChips, drawPanel } from "./refine.js";
import { drawHits } from "./results.js";
import { askForKey } from "./session.js";
import { watchTyping } from "./typing.js";
import { openViewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const box = byId("query");
const list = byId("hits");
const more = byId("more");

const PAGE_SIZE = 24;
const SLOW_MS = 300; // from here on, say that the search is under way
const VERY_SLOW_MS = 6000;
const FOLD_ABOVE = 0.95; // cosine above which two pictures look the same to most people

let info = null;
let query = null; // {text} | {file, url, key} | {id, url}
let target = null; // "images" | "captions"
let refinement = UNREFINED;
let hits = [];
let version = null; // of the index that found the hits
let next = null; // offset of the next page
let running = null; // AbortController of the request under way
let isDraft = false; // the history's entry is a sentence that is still being typed
let isBroken = false; // more was asked for in vain; from here on only the button asks
const files = new Map(); // pictures given in this tab, by their key in the history

const hasGallery = (kind) => Boolean(info?.galleries[kind]);
const columnsHere = () => readColumns(info.galleries[target]);

/** Sentences find pictures and pictures find captions, as far as the index holds them. */
function defaultTarget(asked) {
  const [usual, other] = asked.text ? ["images", "captions"] : ["captions", "images"];
  return hasGallery(usual) || !hasGallery(other) ? usual : other;
}

// --- searching ---------------------------------------------------------------------------------

/** Start a new search and make it a step in the browser's history; a sentence being typed is one step in all. */
function choose(asked, wanted = null, { refined = refinement, isTyped = false } = {}) {
  if (!isTyped) stopTyping();
  if (!info) {
    // The service was not there yet: start over with the query in the address.
    location.assign(writeAddress(asked, wanted, refined));
    return;
  }
  const isUsual = !wanted || wanted === defaultTarget(asked);
  refined = { ...refined, where: keepKnown(readColumns(info.galleries[isUsual ? defaultTarget(asked) : wanted]), refined.where) };
  if (asked.file) {
    asked.key ??= crypto.randomUUID?.() ?? String(Math.random());
    files.set(asked.key, asked);
  }
  const step = isTyped && isDraft ? "replaceState" : "pushState";
  isDraft = isTyped;
  history[step]({ key: asked.key ?? null, find: wanted, text: asked.text }, "", writeAddress(asked, isUsual ? null : wanted, refined));
  run(asked, wanted, refined);
}

function run(asked, wanted, refined) {
  query = asked;
  target = wanted ?? defaultTarget(asked);
  refinement = { ...refined, where: keepKnown(columnsHere(), refined.where) };
  showQuery();
  if (!isDraft) scrollTo({ top: 0 });
  return request();
}

function paramsOf(offset) {
  const params = { target, limit: PAGE_SIZE, offset, version: offset ? version : null };
  const filter = filterOf(columnsHere(), refinement.where);
  if (filter) params.filter = filter;
  if (refinement.words && query.text) params.mode = "hybrid";
  if (refinement.fold) params.fold_duplicates_above = FOLD_ABOVE;
  if (refinement.group && target === "captions") params.group_by = "image";
  return params;
}

/** Ask for the hits from `offset` on, and show them; what was asked before is given up. */
async function request(offset = 0, { isClicked = false, isRestart = false } = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  const timers = [setTimeout(showSlow, SLOW_MS), setTimeout(() => say("Still searching; the service is slow just now…"), VERY_SLOW_MS)];
  list.setAttribute("aria-busy", String(!offset));
  document.body.classList.add("busy");
  try {
    const answer = await search(query, paramsOf(offset), mine.signal);
    show(answer, offset, isClicked);
    showRestart(isRestart);
  } catch (error) {
    timers.forEach(clearTimeout);
    if (error.name !== "AbortError") await handle(error, offset);
  } finally {
    timers.forEach(clearTimeout);
    if (running === mine) {
      running = null;
      document.body.classList.remove("busy");
      list.setAttribute("aria-busy", "false");
    }
  }
}

function showSlow() {
  if (["empty", "resting", "error"].includes(document.body.dataset.state)) setState("loading");
  say("Searching…", { isDraft });
}

async function handle(error, offset) {
  if (error.code === "stale_version" && offset) {
    scrollTo({ top: 0 });
    return request(0, { isRestart: true });
  }
  if (error.code === "too_many_pixels" && query.file && !query.isShrunk) {
    query.file = await shrink(query.file);
    query.isShrunk = true;
    return request();
  }
  if (offset) {
    isBroken = true;
    byId("more-note").textContent = `The next results could not be loaded. ${error.title ?? ""}`;
    byId("more-note").hidden = false;
    more.textContent = "Try again";
    return say(describeOutcome(outcome()));
  }
  next = null;
  setState("error");
  drawProblem(byId("problem"), error, () => request());
  if (error.code === "offline") addEventListener("online", () => document.body.dataset.state === "error" && request(), { once: true });
  say("");
}

const outcome = () => ({ query, target, hits, isFiltered: filterOf(columnsHere(), refinement.where) !== null });

function show(answer, offset, isClicked) {
  const items = drawHits(answer.hits, target, offset ? null : list);
  if (offset) {
    hits.push(...answer.hits);
    list.append(...items);
  } else {
    hits = answer.hits;
    list.replaceChildren(...items);
  }
  list.dataset.target = target;
  version = answer.index.version;
  next = answer.next_offset;
  isBroken = false;
  more.textContent = "Show more";
  byId("more-note").hidden = true;
  setState(hits.length ? "results" : "nothing");
  more.hidden = next === null;
  if (isClicked) list.children[offset]?.querySelector("button").focus();
  say(describeOutcome(outcome()), { timing: answer.timing, isDraft });
  showFit({ query, hits, fits: answer.fits });
  showWarnings(answer.warnings ?? []);
  showIndex(info, answer.index);
  look();
}

/** The next page, unless it is on its way already. */
async function loadMore({ isClicked = false } = {}) {
  if (next !== null && !running) await request(next, { isClicked });
}

const look = watchEnd(more, () => isBroken || loadMore());
more.addEventListener("click", () => loadMore({ isClicked: true }));

// --- the larger view -----------------------------------------------------------------------------

function open(hit) {
  if (!hit.image) {
    if (hit.caption) choose({ text: hit.caption });
    return;
  }
  const pictures = () => hits.filter((one) => one.image);
  const following = async () => {
    await loadMore();
    return { hits: pictures(), loadMore: next === null ? null : following };
  };
  openViewer(pictures(), pictures().indexOf(hit), {
    choose,
    gallery: hasGallery,
    explain: query.text && target === "images" ? explain : null,
    loadMore: next === null ? null : following,
    closed: (place) => list.children[hits.indexOf(pictures()[place])]?.querySelector("button").focus(),
  });
}

/** The same hit again, with its explanation. */
async function explain(hit, signal) {
  const params = { ...paramsOf(hit.rank - 1), limit: 1, version, explain: true };
  const [found] = (await search(query, params, signal)).hits;
  if (found?.id !== hit.id) throw new Problem({ title: "The ranking has changed", detail: "The ranking has changed in the meantime; search again." });
  return found;
}

// --- what the page shows around the results ----------------------------------------------------

function setState(state) {
  const before = byId("search").getBoundingClientRect();
  const was = document.body.dataset.state;
  document.body.dataset.state = state;
  const isIdle = state === "empty" || state === "resting";
  byId("problem").hidden = state !== "error";
  const isUnfiltered = !query || filterOf(columnsHere(), refinement.where) === null;
  byId("examples").hidden = !isIdle && !(state === "nothing" && isUnfiltered);
  byId("targets").hidden = isIdle || state === "error" || !(hasGallery("images") && hasGallery("captions"));
  byId("open-refine").hidden = isIdle || state === "error";
  if (state === "error" || isIdle) list.replaceChildren();
  if (state !== "results") more.hidden = byId("more-note").hidden = true;
  if (state !== "results" && state !== "nothing") hideNotes();
  if (state === "nothing" || isIdle) showExamples({ choose, hasGallery });
  if (was && (was === "empty") !== (state === "empty")) glide(byId("search"), before);
}

/** Let the search box slide to its new place, for those who do not mind motion. */
function glide(element, before) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const after = element.getBoundingClientRect();
  const from = `translate(${before.left - after.left}px, ${before.top - after.top}px)`;
  element.animate([{ transform: from }, { transform: "none" }], { duration: 180, easing: "ease-out" });
}

function showQuery() {
  const text = query?.text ?? "";
  if (box.value.trim() !== text) box.value = text; // never under the cursor of somebody who types
  const picture = byId("query-picture-image");
  byId("query-picture").hidden = !query?.url;
  byId("query-picture").classList.remove("missing");
  if (query?.url) picture.src = query.url;
  else picture.removeAttribute("src");
  box.placeholder = query?.url ? "or type a sentence" : "A sentence, or drop a picture";
  for (const button of byId("targets").children) button.setAttribute("aria-pressed", String(button.dataset.target === target));
  document.title = query ? `${query.text ?? "Picture"} · HREM search` : "HREM search";
  if (!query) return;
  const asked = { query, target, columns: columnsHere(), refinement };
  drawPanel(asked, refine);
  drawChips(asked, refine);
}

const refine = (refined) => choose(query, target, { refined });

// --- input: sentence, picture, keys, history ------------------------------------------------------

const findsSame = (text) => (query?.text && target !== defaultTarget({ text }) ? target : null);

const stopTyping = watchTyping(box, {
  type(text) {
    if (!info || text === (query?.text ?? "")) return;
    if (text) choose({ text }, findsSame(text), { isTyped: true });
    else if (query?.text) rest();
  },
  settle: settled,
});

function settled() {
  isDraft = false;
  sayAloud();
}

/** The box was emptied: the page rests, with the box where it is. */
function rest() {
  history[isDraft ? "replaceState" : "pushState"](null, "", location.pathname);
  isDraft = true;
  forget("resting");
}

function forget(state) {
  running?.abort();
  query = target = next = null;
  refinement = UNREFINED;
  hits = [];
  say("");
  showQuery();
  setState(state);
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = box.value.trim();
  if (text && text === query?.text && document.body.dataset.state !== "error") {
    stopTyping();
    settled();
  } else if (text) choose({ text }, findsSame(text));
  else if (query && !query.text) request();
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

list.addEventListener("click", (event) => {
  const item = event.target.closest("li");
  if (item) open(hits[[...list.children].indexOf(item)]);
});

byId("clear-query").addEventListener("click", () => {
  box.value = "";
  box.dispatchEvent(new Event("input"));
  box.focus();
});
byId("clear-refine").addEventListener("click", () => {
  refine(UNREFINED);
  byId("open-refine").focus();
});
byId("query-picture-image").addEventListener("error", () => byId("query-picture").classList.add("missing"));
byId("remove-picture").addEventListener("click", () => {
  byId("home").click();
  box.focus();
});
watchPictures((file) => {
  byId("viewer").close();
  choose({ file, url: URL.createObjectURL(file) });
});
watchKeys({ box, list });

/** Bring the page into the state that the address and the history entry name. */
function restore() {
  stopTyping();
  isDraft = false;
  const address = readAddress(location.search);
  const { key, find, text = address.text } = history.state ?? {};
  const wanted = address.find ?? find ?? null;
  if (text) return run({ text }, wanted, address.refinement);
  if (address.id) return run({ id: address.id, url: `images/${encodeURIComponent(address.id)}/thumbnail` }, wanted, address.refinement);
  if (key && files.has(key)) return run(files.get(key), wanted, address.refinement);
  forget("empty");
}

async function start() {
  onKeyNeeded(askForKey);
  try {
    info = await readInfo();
  } catch (error) {
    document.body.dataset.state = "error";
    drawProblem(byId("problem"), error, () => location.reload());
    return;
  }
  addEventListener("popstate", restore);
  showIndex(info, info.index);
  restore();
}

document.body.dataset.state = location.search ? "loading" : "empty";
if (matchMedia("(hover: hover)").matches) box.focus();
start();
