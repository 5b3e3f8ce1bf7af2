// The search box and what it shows of the query; it slides where the page needs it.

const byId = (id) => document.getElementById(id);
const box = byId("query");
const picture = byId("query-picture-image");

/** Show the query in the box, its target in the switch, both in the title of the window. */
export function showQuery(query, target) {
  const text = query?.text ?? "";
  if (box.value.trim() !== text) box.value = text; // never under the cursor of somebody who types
  byId("query-picture").hidden = !query?.url;
  byId("query-picture").classList.remove("missing");
  if (query?.url) picture.src = query.url;
  else picture.removeAttribute("src");
  box.placeholder = query?.url ? "or type a sentence" : "A sentence, or drop a picture";
  for (const button of byId("targets").children) button.setAttribute("aria-pressed", String(button.dataset.target === target));
  document.title = query ? `${query.text ?? "Picture"} · HREM search` : "HREM search";
}

/** Change the page by `change()` and let the search box slide to its new place, for those who do not mind motion. */
export function slideAlong(change) {
  const form = byId("search");
  const before = form.getBoundingClientRect();
  change();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const after = form.getBoundingClientRect();
  const [x, y] = [before.left - after.left, before.top - after.top];
  if (x || y) form.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
}

picture.addEventListener("error", () => byId("query-picture").classList.add("missing"));
