// Drawing: hits, examples, problems. Text reaches the page through textContent only.

const byId = (id) => document.getElementById(id);

export const formatScore = (score) => score.toFixed(3);

function fillScore(element, hit) {
  element.querySelector(".rank").textContent = hit.rank;
  element.querySelector(".score").textContent = formatScore(hit.score);
  // The bar is the cosine itself, from 0 to 1, so that two pages of results can be compared.
  element.querySelector(".bar > span").style.width = `${100 * Math.min(1, Math.max(0, hit.score))}%`;
}

function fillPicture(frame, image) {
  const picture = frame.querySelector("img");
  picture.addEventListener("error", () => frame.classList.add("missing"), { once: true });
  // An image that was indexed by its region features has no picture.
  if (image.thumbnail_url) picture.src = image.thumbnail_url;
  else frame.classList.add("missing");
  return picture;
}

/** The list item of one hit; `open` is called when it is activated. */
export function drawHit(hit, target, open) {
  const template = byId(target === "images" ? "picture-hit" : "caption-hit");
  const item = template.content.cloneNode(true).firstElementChild;
  const button = item.querySelector("button");
  fillScore(item, hit);
  const frame = item.querySelector(".frame");
  if (target === "images") {
    const { width, height } = hit.image;
    const ratio = width && height ? Math.min(2.4, Math.max(0.6, width / height)) : 1;
    item.style.setProperty("--ratio", ratio);
    fillPicture(frame, hit.image);
    button.setAttribute("aria-label", `Picture ${hit.image.id}, rank ${hit.rank}, score ${formatScore(hit.score)}`);
  } else {
    item.querySelector(".caption").textContent = hit.caption;
    if (hit.image) fillPicture(frame, hit.image);
    else frame.classList.add("missing");
    button.setAttribute("aria-label", `${hit.caption}, rank ${hit.rank}, score ${formatScore(hit.score)}`);
  }
  button.addEventListener("click", () => open(hit));
  return item;
}

/** Show a problem with the service's title, detail, per-field errors and request id. */
export function drawProblem(section, problem, retry) {
  const parts = [];
  const add = (tag, text, className) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    parts.push(element);
    return element;
  };
  add("h2", problem.title ?? "Something went wrong in the page");
  // One error is told by the detail alone; several are listed instead of it.
  if (problem.errors?.length > 1) {
    add("ul", "").append(
      ...problem.errors.map(({ where, message }) => Object.assign(document.createElement("li"), { textContent: `${where}: ${message}` })),
    );
  } else if (problem.detail || !problem.title) add("p", problem.detail || String(problem));
  if (problem.requestId) add("p", `request ${problem.requestId}`, "request-id");
  add("button", "Try again").addEventListener("click", retry);
  section.replaceChildren(...parts);
  section.hidden = false;
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
    .map(([key, value]) => [
      key.replaceAll("_", " "),
      Array.isArray(value) ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value),
    ]);
}
