// Examples for an empty page, taken from the index itself, so that they always fit it.
import { searchMany } from "./api.js";
import { drawExamplePicture, drawSentence } from "./results.js";

const byId = (id) => document.getElementById(id);

const PROBES = ["a", "two", "with", "on the left", "in the"]; // words of almost any captions, to sample them with
const PICTURE_COUNT = 6;

let isShown = false;

/** Fill the examples, once; `choose(query)` starts a search from one. */
export async function showExamples({ choose, hasGallery }) {
  if (isShown) return;
  isShown = true;
  const sample = (kind, limit) => (hasGallery(kind) ? searchMany(PROBES, { target: kind, limit }).catch(() => []) : []);
  const [captionHits, pictureHits] = await Promise.all([sample("captions", 25), sample("images", 4)]);

  const sentences = new Set(); // a short one first, then longer ones, up to the middle of what was found
  for (const [place, hits] of captionHits.entries()) {
    const fresh = hits.map((hit) => hit.caption).filter((text) => !sentences.has(text));
    fresh.sort((one, other) => one.length - other.length);
    if (fresh.length) sentences.add(fresh[Math.floor((fresh.length * place) / (2 * PROBES.length))]);
  }
  const best = pictureHits.flat().sort((one, other) => one.rank - other.rank);
  const drawable = best.filter((hit) => hit.image.thumbnail_url);
  const pictures = [...new Map(drawable.map((hit) => [hit.id, hit.image])).values()].slice(0, PICTURE_COUNT);

  fill("example-sentences", [...sentences].map((text) => drawSentence(text, choose)));
  fill("example-pictures", pictures.map((image) => drawExamplePicture(image, choose)));
  byId("examples").classList.add("ready");
}

function fill(id, items) {
  byId(id).replaceChildren(...items);
  byId(id).parentElement.hidden = !items.length;
}
