// Steps in the browser's history: each holds one search, a sentence that is still being typed is one step in all.
import { readAddress, writeAddress } from "./address.js";

const files = new Map(); // pictures given in this tab, by their key in the history
let isDraft = false; // the present step is a sentence that is still being typed

/** Whether somebody is still typing what the present step holds. */
export const isTyping = () => isDraft;

/** The sentence is meant as it stands: what is typed from here on is another step. */
export function settle() {
  isDraft = false;
}

function write(state, address, isTyped) {
  const step = isTyped && isDraft ? "replaceState" : "pushState";
  isDraft = isTyped;
  history[step](state, "", address);
}

/** Make a search a step; `find` is its target where that is not the usual one. */
export function record({ query, refinement }, find, { isTyped }) {
  if (query.file) {
    query.key ??= crypto.randomUUID?.() ?? String(Math.random());
    files.set(query.key, query);
  }
  write({ key: query.key ?? null, find, text: query.text }, writeAddress(query, find, refinement), isTyped);
}

/** Make the page without a search a step. */
export const recordRest = ({ isTyped }) => write(null, location.pathname, isTyped);

/** What the present step holds: {query, find, refinement}; query is null where nothing is searched. */
export function recall() {
  isDraft = false;
  const address = readAddress(location.search);
  const { key, find, text = address.text } = history.state ?? {};
  const picture = address.id && { id: address.id, url: `images/${encodeURIComponent(address.id)}/thumbnail` };
  const query = text ? { text } : picture || files.get(key) || null;
  return { query, find: address.find ?? find ?? null, refinement: address.refinement };
}
