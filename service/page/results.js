// Drawing: hits, examples, metadata. Text reaches the page through textContent only.
import { labelOf } from "./columns.js";

const byId = (id) => document.getElementById(id);

export const formatScore = (score) => score.toFixed(3);
export const formatRelevance = (relevance) => `${Math.round(100 * relevance)}%`;

// The score stands here and the relevance in the viewer: how likely a hit is the very picture that was meant is a
// few percent where many fit equally well, which below a perfect hit looks like a fault.
function fillScore(element, hit) {
  element.querySelector(".rank").textContent = hit.rank;
  element.querySelector(".score").textContent = formatScore(hit.score);
  // The bar is the cosine itself, from 0 to 1, so that two pages of results can be compared.
  element.querySelector(".bar > span").style.width = `${100 * Math.min(1, Math.max(0, hit.score))}%`;
}

function fillPicture(frame, image) {
  const picture = frame.querySelector("img");
  const source = image?.thumbnail_url ?? null;
  if (picture.getAttribute("src") === source && source) return;
  // An image that was indexed by its region features has no picture.
  frame.classList.toggle("missing", !source);
  picture.onerror = () => frame.classList.add("missing");
  if (source) picture.src = source;
  else picture.removeAttribute("src");
}

function fillNote(item, text) {
  const note = item.querySelector(".note");
  note.textContent = text;
  note.hidden = !text;
}

const alike = (hit) => (hit.duplicates?.length ? `+${hit.duplicates.length} alike` : "");

/** How a hit is read out. */
function nameOf(hit, target) {
  const name = target === "images" ? `Picture ${hit.image?.id ?? hit.id}` : hit.caption;
  return [name, `rank ${hit.rank}`, `score ${formatScore(hit.score)}`, alike(hit).replace("+", "")].filter(Boolean).join(", ");
}

function fillHit(item, hit, target) {
  const button = item.querySelector("button");
  fillScore(item, hit);
  fillPicture(item.querySelector(".frame"), hit.image);
  if (target === "images") {
    const { width, height } = hit.image ?? {};
    item.style.setProperty("--ratio", width && height ? Math.min(2.4, Math.max(0.6, width / height)) : 1);
    fillNote(item, alike(hit));
  } else {
    item.querySelector(".caption").textContent = hit.caption;
    const more = hit.captions?.length ?? 0;
    fillNote(item, more ? `and ${more} more of this picture` : alike(hit));
  }
  button.setAttribute("aria-label", nameOf(hit, target));
}

/** A list item for each hit; those that the list `before` them shows are used again, so that nothing flickers. */
export function drawHits(hits, target, before) {
  const isSameKind = before?.dataset.target === target;
  const shown = new Map(isSameKind ? [...before.children].map((item) => [item.dataset.id, item]) : []);
  const template = byId(target === "images" ? "picture-hit" : "caption-hit");
  return hits.map((hit) => {
    const item = shown.get(hit.id) ?? template.content.cloneNode(true).firstElementChild;
    shown.delete(hit.id);
    item.dataset.id = hit.id;
    fillHit(item, hit, target);
    return item;
  });
}

/** A chip that searches with a sentence. */
export function drawSentence(text, choose) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  button.addEventListener("click", () => choose({ text }));
  item.append(button);
  return item;
}

/** A thumbnail that searches with an indexed picture. */
export function drawExamplePicture(image, choose) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.setAttribute("aria-label", `Search with picture ${image.id}`);
  const picture = Object.assign(document.createElement("img"), { src: image.thumbnail_url, alt: "" });
  button.append(picture);
  button.addEventListener("click", () => choose({ id: image.id, url: image.thumbnail_url }));
  item.append(button);
  return item;
}

/** "object_count" -> "object count", and lists joined, for people. */
export function describeMetadata(metadata) {
  return Object.entries(metadata ?? {})
    .filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length))
    .map(([key, value]) => [labelOf(key), describeValue(value)]);
}

function describeValue(value) {
  if (Array.isArray(value)) return value.map(describeValue).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}
