// The larger view of one picture: its captions, its metadata, and the search that starts from it.
import { search } from "./api.js";
import { describeMetadata, drawSentence, formatScore } from "./results.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("viewer");
const picture = byId("viewer-picture");
const note = byId("viewer-note");

const NEAREST_CAPTIONS = 5;
const LARGEST_ZOOM = 3;

let shown = { hits: [], place: 0, choose: null, hasCaptions: false };
let pending = null; // the running look-up of captions

/** Open hit `place` of `hits`; `choose(query)` starts a search from here. */
export function openViewer(hits, place, { choose, hasCaptions }) {
  shown = { hits: hits.filter((hit) => hit.image), place: 0, choose, hasCaptions };
  shown.place = shown.hits.indexOf(hits[place]);
  dialog.showModal();
  show();
}

function show() {
  const hit = shown.hits[shown.place];
  const { id, url, thumbnail_url: thumbnail, width, height } = hit.image;
  byId("viewer-title").textContent = `Result ${hit.rank}`;
  const caption = byId("viewer-caption");
  caption.textContent = hit.caption ? `“${hit.caption}”` : "";
  caption.hidden = !hit.caption;

  note.hidden = true;
  picture.onerror = () => {
    picture.onerror = null;
    picture.src = thumbnail;
    note.textContent = "The original file is not readable any more; this is its thumbnail.";
    note.hidden = false;
  };
  if (url) picture.src = url;
  else {
    picture.removeAttribute("src");
    note.textContent = "This image was indexed by its region features; there is no picture of it.";
    note.hidden = false;
  }
  picture.alt = hit.caption ?? `Picture ${id}`;
  picture.style.aspectRatio = width && height ? `${width} / ${height}` : "";
  picture.style.maxWidth = width ? `${LARGEST_ZOOM * width}px` : ""; // a small picture stays crisp
  byId("viewer-original").hidden = !url;
  byId("viewer-original").href = url ?? "";

  const facts = [["score", formatScore(hit.score)], ...describeMetadata(hit.metadata)];
  if (width && height) facts.push(["size", `${width} × ${height}`]);
  facts.push(["id", id]);
  byId("viewer-metadata").replaceChildren(
    ...facts.flatMap(([key, value]) => [
      Object.assign(document.createElement("dt"), { textContent: key }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]),
  );
  byId("viewer-previous").disabled = shown.place === 0;
  byId("viewer-next").disabled = shown.place === shown.hits.length - 1;
  showCaptions(id);
}

/** Ask the service which captions lie nearest, and mark those that belong to this very picture. */
async function showCaptions(id) {
  const section = byId("viewer-captions");
  section.hidden = true;
  pending?.abort();
  if (!shown.hasCaptions) return;
  pending = new AbortController();
  try {
    const { hits } = await search({ id }, { target: "captions", limit: NEAREST_CAPTIONS }, pending.signal);
    const items = hits.map((hit) => {
      const item = drawSentence(hit.caption, leaveFor);
      const own = hit.image_id === id;
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

function leaveFor(query) {
  dialog.close();
  shown.choose(query);
}

function step(by) {
  const place = shown.place + by;
  if (place < 0 || place >= shown.hits.length) return;
  shown.place = place;
  show();
}

byId("viewer-close").addEventListener("click", () => dialog.close());
byId("viewer-previous").addEventListener("click", () => step(-1));
byId("viewer-next").addEventListener("click", () => step(1));
byId("viewer-search").addEventListener("click", () => {
  const { id, thumbnail_url: url } = shown.hits[shown.place].image;
  leaveFor({ id, url });
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // a click on the backdrop
});
dialog.addEventListener("close", () => {
  pending?.abort();
  picture.removeAttribute("src");
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});
