// Metadata columns of a gallery, and what a person's choices among their values mean as a filter of the API.
// Choices are strings, as they stand in the address: "red", "yes", or "2..5" and "..5" for a range.

const MOST_CHOICES = 16; // more values than this are typed, not tapped

/**
 * The columns that can be filtered by: {name, label, control, values, least, most, step}.
 * `control` is "switch" (yes or no), "range" (from - to), "choices" (any of few) or "words" (any of many, typed).
 */
export function readColumns(gallery) {
  return Object.entries(gallery?.facets ?? {}).map(([name, told]) => describeColumn(name, told)).filter(Boolean);
}

function describeColumn(name, told) {
  const type = told.type.replace(/_list$/, "");
  const shared = { name, label: labelOf(name), type, values: told.values ?? [], least: told.minimum ?? null, most: told.maximum ?? null };
  if (type === "boolean") return { ...shared, control: "switch" };
  if (type === "integer" || type === "number") {
    // Of a list no element comes before another: single numbers are typed.
    return { ...shared, control: type === told.type ? "range" : "words", step: type === "integer" ? "1" : "any" };
  }
  if (type !== "text") return null;
  const isShort = shared.values.length > 0 && shared.values.length <= MOST_CHOICES;
  return { ...shared, control: isShort ? "choices" : "words" };
}

/** "object_count" -> "object count", for people. */
export const labelOf = (name) => name.replaceAll("_", " ");

/** Both ends of "2..5", null where open; null if it is no range. */
export function readRange(text) {
  const [, from, to] = /^(-?[\d.]*(?:e[-+]?\d+)?)\.\.(-?[\d.]*(?:e[-+]?\d+)?)$/i.exec(text ?? "") ?? [];
  const ends = [from, to].map((end) => (end ? Number(end) : null));
  return from === undefined || ends.some(Number.isNaN) || ends.every((end) => end === null) ? null : ends;
}

/** What a typed choice means in a column of that type, or null: "7" is a number where numbers are kept. */
function readValue(type, text) {
  if (type === "text") return text || null;
  const number = text.trim() ? Number(text) : NaN;
  return Number.isFinite(number) && (type === "number" || Number.isInteger(number)) ? number : null;
}

/** `where` without what these columns cannot mean: an old address, or another gallery's. */
export function keepKnown(columns, where) {
  const kept = {};
  for (const { name, type, control } of columns) {
    const values = (where[name] ?? []).filter((value) => {
      if (control === "range") return readRange(value);
      return control === "switch" ? value === "yes" || value === "no" : readValue(type, value) !== null;
    });
    if (values.length) kept[name] = control === "range" || control === "switch" ? values.slice(0, 1) : values;
  }
  return kept;
}

/** "place: shelf 3, number: 9", the choices of `where` that `kept` has not; "" if it has all. */
export function describeDropped(where, kept) {
  return Object.entries(where)
    .flatMap(([name, values]) => values.filter((value) => !kept[name]?.includes(value)).map((value) => `${labelOf(name)}: ${value}`))
    .join(", ");
}

/** The API's filter of the choices, or null where nothing is chosen. */
export function filterOf(columns, where) {
  const conditions = [];
  for (const { name, type, control } of columns) {
    const chosen = where[name];
    if (!chosen?.length) continue;
    if (control === "switch") conditions.push({ [name]: { eq: chosen[0] === "yes" } });
    else if (control === "range") {
      const [from, to] = readRange(chosen[0]);
      if (from !== null) conditions.push({ [name]: { gte: from } });
      if (to !== null) conditions.push({ [name]: { lte: to } });
    } else {
      const values = chosen.map((value) => readValue(type, value));
      conditions.push({ [name]: values.length === 1 ? { eq: values[0] } : { in: values } });
    }
  }
  if (conditions.length < 2) return conditions[0] ?? null;
  return { and: conditions };
}

/** One {column, value, text} for each choice, to be shown and taken back one by one. */
export function choicesOf(columns, where) {
  return columns.flatMap(({ name, label, control }) =>
    (where[name] ?? []).map((value) => {
      if (control === "switch") return { column: name, value, text: value === "yes" ? label : `not ${label}` };
      if (control !== "range") return { column: name, value, text: `${label}: ${value}` };
      const [from, to] = readRange(value);
      if (from === to) return { column: name, value, text: `${label}: ${from}` };
      if (to === null) return { column: name, value, text: `${label}: ${from} or more` };
      if (from === null) return { column: name, value, text: `${label}: ${to} or less` };
      return { column: name, value, text: `${label}: ${from} to ${to}` };
    }),
  );
}
