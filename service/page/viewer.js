// The larger view of one picture: why it was found, its captions, its metadata, and the searches that start from it.
import { search } from "./api.js";
import { drawExplanation } from "./explanation.js";
import { describeMetadata, drawExamplePicture, drawSentence, formatRelevance, formatScore } from "./results.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("viewer");
const stage = byId("stage");
const picture = byId("viewer-picture");
const note = byId("viewer-note");
const why = byId("viewer-why");

const NEAREST_CAPTIONS = 5;
const LARGEST_ZOOM = 3;
const NO_EXPLANATION = "There is no explanation of this picture: its file can no longer be read.";

let shown = { hits: [], place: 0 };
let pending = null; // what is being looked up for the picture shown
let isExplaining = false; // asked for once, kept while walking from picture to picture

/**
 * Open hit `place` of `hits`. `choose(query, target)` starts a search from here; `explain(hit, signal)` resolves to the hit
 * with its explanation of `sentence`, and is null where nothing can be explained; `loadMore()` resolves to all hits once there are more;
 * `closed(place)` is told which hit was shown last.
 */
export function openViewer(hits, place, { choose, gallery, sentence, explain, loadMore, closed }) {
  shown = { hits, place, choose, gallery, sentence, explain, loadMore, closed };
  isExplaining = false;
  dialog.showModal();
  show();
}

function show() {
  const hit = shown.hits[shown.place];
  pending?.abort();
  pending = new AbortController();
  byId("viewer-title").textContent = `Result ${hit.rank}`;
  byId("viewer-caption").textContent = hit.caption ? `“${hit.caption}”` : "";
  byId("viewer-caption").hidden = !hit.caption;
  showPicture(hit);
  showFacts(hit);
  byId("viewer-previous").disabled = shown.place === 0;
  byId("viewer-next").disabled = shown.place === shown.hits.length - 1 && !shown.loadMore;
  showAlike(hit);
  showCaptions(hit, pending.signal);
  why.hidden = !shown.explain || !hit.image.url;
  showExplanation(hit, pending.signal);
}

/** Pictures that were folded into this one. */
function showAlike({ id, image, duplicates }) {
  const alike = id === image.id ? (duplicates ?? []) : []; // of a caption, it is captions that are alike
  const pictures = alike.map((one) => ({ id: one.id, thumbnail_url: `images/${encodeURIComponent(one.id)}/thumbnail` }));
  byId("viewer-alike").hidden = !pictures.length;
  byId("viewer-alike").querySelector("ul").replaceChildren(...pictures.map((picture) => drawExamplePicture(picture, leaveFor)));
}

function showPicture({ image, caption }) {
  const { id, url, thumbnail_url: thumbnail, width, height } = image;
  tell("");
  picture.onerror = () => {
    picture.onerror = null;
    picture.src = thumbnail;
    tell("The original file is not readable any more; this is its thumbnail.");
  };
  if (url) picture.src = url;
  else {
    picture.removeAttribute("src");
    tell("This image was indexed by its region features; there is no picture of it.");
  }
  picture.alt = caption ?? `Picture ${id}`;
  stage.hidden = !url;
  stage.style.setProperty("--ratio", width && height ? width / height : 1);
  stage.style.setProperty("--widest", width ? `${LARGEST_ZOOM * width}px` : "100%"); // a small picture stays crisp
  byId("viewer-original").hidden = !url;
  byId("viewer-original").href = url ?? "";
  byId("viewer-search").hidden = !url || !shown.gallery("images");
  byId("viewer-captions-search").hidden = !url || !shown.gallery("captions");
}

function tell(text) {
  note.textContent = text;
  note.hidden = !text;
}

function showFacts({ score, relevance, metadata, image }) {
  const facts = [["score", formatScore(score)], ...describeMetadata(metadata)];
  if (relevance !== null) facts.unshift(["relevance", formatRelevance(relevance)]);
  if (image.width && image.height) facts.push(["size", `${image.width} × ${image.height}`]);
  facts.push(["id", image.id]);
  byId("viewer-metadata").replaceChildren(
    ...facts.flatMap(([key, value]) => [
      Object.assign(document.createElement("dt"), { textContent: key }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]),
  );
}

/** Ask the service which captions lie nearest, and mark those that belong to this very picture. */
async function showCaptions({ image }, signal) {
  const section = byId("viewer-captions");
  section.hidden = true;
  if (!shown.gallery("captions") || !image.url) return;
  try {
    const { hits } = await search({ id: image.id }, { target: "captions", limit: NEAREST_CAPTIONS }, signal);
    const items = hits.map((hit) => {
      const item = drawSentence(hit.caption, leaveFor);
      const own = hit.image_id === image.id;
      item.classList.toggle("own", own);
      const mark = document.createElement("small");
      mark.textContent = own ? `${formatScore(hit.score)} · its own` : formatScore(hit.score);
      item.append(mark);
      return item;
    });
    section.querySelector("ol").replaceChildren(...items);
    section.hidden = !items.length;
  } catch (error) {
    // The picture is what was asked for; without its captions the view is still whole.
    if (error.name !== "AbortError") console.warn("nearest captions:", error);
  }
}

/** Draw where in the picture the words of the sentence are found, if the person wants to know. */
async function showExplanation(hit, signal) {
  const size = { width: hit.image.width ?? 1, height: hit.image.height ?? 1 };
  drawExplanation(null, "", size);
  stage.classList.remove("explained");
  why.setAttribute("aria-pressed", String(isExplaining));
  byId("explanation-note").hidden = true;
  if (!isExplaining || why.hidden) return;
  why.setAttribute("aria-busy", "true");
  let reason = NO_EXPLANATION;
  try {
    const { explanation } = await shown.explain(hit, signal);
    if (explanation) {
      drawExplanation(explanation, shown.sentence, size);
      stage.classList.add("explained");
      return;
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    reason = error.errors?.[0]?.message ?? error.detail ?? String(error);
  } finally {
    if (!signal.aborted) why.removeAttribute("aria-busy");
  }
  byId("explanation-note").textContent = reason;
  byId("explanation-note").hidden = false;
}

function leaveFor(query, target) {
  const { choose } = shown;
  shown.closed = null; // the focus goes where the new search puts it
  dialog.close();
  choose(query, target);
}

async function step(by) {
  if (shown.place + by === shown.hits.length && shown.loadMore) {
    const more = await shown.loadMore();
    if (!dialog.open) return;
    shown.hits = more.hits;
    shown.loadMore = more.loadMore;
  }
  if (!shown.hits[shown.place + by]) return;
  shown.place += by;
  show();
}

function searchWithThis(target) {
  const { id, thumbnail_url: url } = shown.hits[shown.place].image;
  leaveFor({ id, url }, target);
}

byId("viewer-close").addEventListener("click", () => dialog.close());
byId("viewer-previous").addEventListener("click", () => step(-1));
byId("viewer-next").addEventListener("click", () => step(1));
byId("viewer-search").addEventListener("click", () => searchWithThis("images"));
byId("viewer-captions-search").addEventListener("click", () => searchWithThis("captions"));
why.addEventListener("click", () => {
  isExplaining = !isExplaining;
  showExplanation(shown.hits[shown.place], pending.signal);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // a click on the backdrop
});
dialog.addEventListener("close", () => {
  pending?.abort();
  picture.removeAttribute("src");
  drawExplanation(null, "", { width: 1, height: 1 });
  shown.closed?.(shown.place);
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === " " && event.target === dialog) dialog.close();
  else return;
  event.preventDefault();
});
