// What the address says and how it is written: the query, what to find, and how the search is refined.

const LONGEST_IN_ADDRESS = 1000; // characters of a sentence; longer ones live in the history alone
const COLUMN = "where.";
const SWITCHES = ["words", "fold", "group"];

/** A search that nothing refines: `where` holds, by column, the values as they stand in the address. */
export const UNREFINED = Object.freeze({ where: Object.freeze({}), words: false, fold: false, group: false });

/** {text, id, find, refinement} of an address; what it does not say is null. */
export function readAddress(search) {
  const address = new URLSearchParams(search);
  const where = {};
  for (const name of new Set(address.keys())) {
    if (name.startsWith(COLUMN)) where[name.slice(COLUMN.length)] = address.getAll(name);
  }
  const refinement = { where };
  for (const name of SWITCHES) refinement[name] = address.get(name) === "yes";
  return { text: address.get("q")?.trim() || null, id: address.get("image"), find: address.get("find"), refinement };
}

/** The address of a query, relative to the page; `find` is null where the usual target is meant. */
export function writeAddress(query, find, refinement) {
  const address = new URLSearchParams();
  if (query?.text && query.text.length <= LONGEST_IN_ADDRESS) address.set("q", query.text);
  if (query?.id) address.set("image", query.id);
  if (find) address.set("find", find);
  for (const [column, values] of Object.entries(refinement.where)) {
    for (const value of values) address.append(COLUMN + column, value);
  }
  for (const name of SWITCHES) if (refinement[name]) address.set(name, "yes");
  return address.size ? `?${address}` : location.pathname;
}
