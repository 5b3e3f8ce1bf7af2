// The search page: one query at a time, kept in the address, answered by the REST API while it is typed.
import { UNREFINED, writeAddress } from "./address.js";
import { onKeyNeeded, Problem, readInfo, search } from "./api.js";
import { columnsOf, fieldsOf, isFiltered, usualTarget } from "./asking.js";
import { describeDropped, keepKnown } from "./columns.js";
import { showExamples } from "./examples.js";
import { shrink, watchPictures } from "./intake.js";
import { watchKeys } from "./keys.js";
import { showQuery, slideAlong } from "./masthead.js";
import { describeOutcome, hideNotes, say, sayAloud, showDropped, showFit, showIndex, showRestart, showWarnings } from "./outcome.js";
import { watchEnd } from "./paging.js";
import { drawProblem } from "./problems.js";
import { drawChips, drawPanel } from "./refine.js";
import { drawHits } from "./results.js";
import { askForKey } from "./session.js";
import * as steps from "./steps.js";
import { watchTyping } from "./typing.js";
import { openViewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const box = byId("query");
const list = byId("hits");
const more = byId("more");

const SLOW_MS = 300; // from here on, say that the search is under way
const VERY_SLOW_MS = 6000;

let info = null;
let asked = null; // {query, target, refinement}; query is {text} | {file, url, key} | {id, url}
let hits = [];
let version = null; // of the index that found the hits
let next = null; // offset of the next page
let running = null; // AbortController of the request under way
let isBroken = false; // more was asked for in vain; from here on only the button asks

const hasGallery = (kind) => Boolean(info?.galleries[kind]);

// --- searching ---------------------------------------------------------------------------------

/** Start a new search and make it a step in the browser's history; a sentence being typed is one step in all. */
function choose(query, wanted = null, { refinement = asked?.refinement ?? UNREFINED, isTyped = false } = {}) {
  if (!isTyped) stopTyping();
  if (!info) {
    // The service was not there yet: start over with the query in the address.
    location.assign(writeAddress(query, wanted, refinement));
    return;
  }
  ask(query, wanted, refinement);
  steps.record(asked, asked.target === usualTarget(query, info) ? null : asked.target, { isTyped });
  run();
}

/** Set what is asked; choices that the searched gallery does not know are dropped, and that is said with the answer. */
function ask(query, wanted, refinement) {
  const target = wanted ?? usualTarget(query, info);
  const where = keepKnown(columnsOf(target, info), refinement.where);
  asked = { query, target, refinement: { ...refinement, where }, dropped: describeDropped(refinement.where, where) };
}

function run() {
  showAsked();
  if (!steps.isTyping()) scrollTo({ top: 0 });
  return request();
}

/** Ask for the hits from `offset` on, and show them; what was asked before is given up. */
async function request(offset = 0, { isClicked = false, isRestart = false } = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  const timers = [setTimeout(showSlow, SLOW_MS), setTimeout(() => say("Still searching; the service is slow just now…"), VERY_SLOW_MS)];
  list.setAttribute("aria-busy", String(!offset));
  document.body.classList.add("busy");
  try {
    const answer = await search(asked.query, fieldsOf(asked, info, { offset, version }), mine.signal);
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
  say("Searching…", { isDraft: steps.isTyping() });
}

async function handle(error, offset) {
  const { query } = asked;
  if (error.code === "stale_version" && offset) {
    scrollTo({ top: 0 });
    return request(0, { isRestart: true });
  }
  if (error.code === "too_many_pixels" && query.file && !query.isShrunk) {
    Object.assign(query, { file: await shrink(query.file), isShrunk: true });
    return request();
  }
  if (offset) {
    isBroken = true;
    byId("more-note").textContent = `The next results could not be loaded. ${error.title ?? ""}`;
    byId("more-note").hidden = false;
    more.textContent = "Try again";
    return say(outcome());
  }
  next = null;
  setState("error");
  drawProblem(byId("problem"), error, () => request());
  if (error.code === "offline") addEventListener("online", () => document.body.dataset.state === "error" && request(), { once: true });
  say("");
}

const outcome = () => describeOutcome({ ...asked, hits, isFiltered: isFiltered(asked, info) });

function show(answer, offset, isClicked) {
  const items = drawHits(answer.hits, asked.target, offset ? null : list);
  if (offset) {
    hits.push(...answer.hits);
    list.append(...items);
  } else {
    hits = answer.hits;
    list.replaceChildren(...items);
  }
  list.dataset.target = asked.target;
  version = answer.index.version;
  next = answer.next_offset;
  isBroken = false;
  more.textContent = "Show more";
  byId("more-note").hidden = true;
  setState(hits.length ? "results" : "nothing");
  more.hidden = next === null;
  if (isClicked) list.children[offset]?.querySelector("button").focus();
  say(outcome(), { timing: answer.timing, isDraft: steps.isTyping() });
  showFit({ query: asked.query, hits, fits: answer.fits });
  showDropped(asked);
  showWarnings(answer.warnings ?? []);
  showIndex(info, answer.index);
  look();
}

let nextPage = null; // promise of the last page that was asked for

/** The next page; one that is on its way already is waited for. */
async function loadMore({ isClicked = false } = {}) {
  if (next !== null && !running) nextPage = request(next, { isClicked });
  await nextPage;
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
    sentence: asked.query.text,
    explain: asked.query.text && asked.target === "images" ? explain : null,
    loadMore: next === null ? null : following,
    closed: (place) => list.children[hits.indexOf(pictures()[place])]?.querySelector("button").focus(),
  });
}

/** The same hit again, with its explanation. */
async function explain(hit, signal) {
  const fields = { ...fieldsOf(asked, info, { offset: hit.rank - 1, version }), version, limit: 1, explain: true };
  const [found] = (await search(asked.query, fields, signal)).hits;
  if (found?.id !== hit.id) throw new Problem({ title: "The ranking has changed", detail: "The ranking has changed in the meantime; search again." });
  return found;
}

// --- what the page shows around the results ----------------------------------------------------

function setState(state) {
  const was = document.body.dataset.state;
  const change = () => (document.body.dataset.state = state);
  if ((was === "empty") === (state === "empty")) change();
  else slideAlong(change);
  const isIdle = state === "empty" || state === "resting";
  byId("problem").hidden = state !== "error";
  byId("examples").hidden = !isIdle && !(state === "nothing" && !isFiltered(asked, info));
  byId("targets").hidden = isIdle || state === "error" || !(hasGallery("images") && hasGallery("captions"));
  byId("open-refine").hidden = isIdle || state === "error";
  if (state === "error" || isIdle) list.replaceChildren();
  if (state !== "results") more.hidden = byId("more-note").hidden = true;
  if (state !== "results" && state !== "nothing") hideNotes();
  if (state === "nothing" || isIdle) showExamples({ choose, hasGallery });
}

function showAsked() {
  showQuery(asked?.query, asked?.target);
  if (!asked) return;
  const drawn = { ...asked, columns: columnsOf(asked.target, info), hasCaptions: hasGallery("captions") };
  drawPanel(drawn, refine);
  drawChips(drawn, refine);
}

const refine = (refinement) => choose(asked.query, asked.target, { refinement });

// --- input: sentence, picture, keys, history ------------------------------------------------------

/** What to find with this sentence: whatever the sentence before it was looking for. */
const sameTarget = () => (asked?.query.text ? asked.target : null);

const stopTyping = watchTyping(box, {
  type(text) {
    if (!info || text === (asked?.query.text ?? "")) return;
    if (text) choose({ text }, sameTarget(), { isTyped: true });
    else if (asked?.query.text) rest();
  },
  settle: settled,
});

function settled() {
  steps.settle();
  sayAloud();
}

/** The box was emptied: the page rests, with the box where it is. */
function rest() {
  steps.recordRest({ isTyped: true });
  forget("resting");
}

function forget(state) {
  running?.abort();
  asked = next = null;
  hits = [];
  say("");
  showAsked();
  setState(state);
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = box.value.trim();
  if (text && text === asked?.query.text && document.body.dataset.state !== "error") {
    stopTyping();
    settled();
  } else if (text) choose({ text }, sameTarget());
  else if (asked && !asked.query.text) request();
  else box.focus();
});

byId("home").addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  steps.recordRest({ isTyped: false });
  restore();
});

byId("targets").addEventListener("click", (event) => {
  const wanted = event.target.closest("button")?.dataset.target;
  if (wanted && wanted !== asked.target) choose(asked.query, wanted);
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
byId("remove-picture").addEventListener("click", () => {
  byId("home").click();
  box.focus();
});
watchPictures((file) => {
  byId("viewer").close();
  choose({ file, url: URL.createObjectURL(file) });
});
watchKeys({ box, list });

/** Bring the page into the state that the present step of the history holds. */
function restore() {
  stopTyping();
  const { query, find, refinement } = steps.recall();
  if (!query) return forget("empty");
  ask(query, find, refinement);
  return run();
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
