// What is asked of the service: which gallery, and the fields of a search that a person's choices make.
import { filterOf, readColumns } from "./columns.js";

const PAGE_SIZE = 24;
const FOLD_ABOVE = 0.95; // cosine above which two pictures look the same to most people

/** Sentences find pictures and pictures find captions, as far as the index holds them. */
export function usualTarget(query, { galleries }) {
  const [usual, other] = query.text ? ["images", "captions"] : ["captions", "images"];
  return galleries[usual] || !galleries[other] ? usual : other;
}

/** The columns that can be filtered by when `target` is searched. */
export const columnsOf = (target, { galleries }) => readColumns(galleries[target]);

/** Whether a filter narrows the search. */
export const isFiltered = ({ target, refinement }, info) => filterOf(columnsOf(target, info), refinement.where) !== null;

/** Fields of the search; one that nobody asked for is left out. `version` goes with every page but the first. */
export function fieldsOf({ query, target, refinement }, info, { offset, version }) {
  const fields = { target, limit: PAGE_SIZE, offset, version: offset ? version : null };
  const filter = filterOf(columnsOf(target, info), refinement.where);
  if (filter) fields.filter = filter;
  if (refinement.words && query.text) fields.mode = "hybrid";
  if (refinement.fold) fields.fold_duplicates_above = FOLD_ABOVE;
  if (refinement.group && target === "captions") fields.group_by = "image";
  return fields;
}
