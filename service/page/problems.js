// What went wrong, for people: a calm sentence, what to do, and the service's own words where they help.

const BUSY = { title: "The service is busy just now", detail: "It was asked twice. Try again in a moment." };
const FRIENDLY = {
  overloaded: BUSY,
  not_ready: { title: "The service is not ready yet", detail: "It may be starting. Try again in a moment." },
  deadline_exceeded: { title: "That took too long", detail: "The service gave up on this search. Try again in a moment." },
  rate_limited: { title: "That was a little fast", detail: "This key has used up its searches for the moment. Try again shortly." },
};

/** Show a problem with its title, detail, per-field errors and request id; `retry` does the same again. */
export function drawProblem(section, problem, retry) {
  const parts = [];
  const add = (tag, text, className) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    parts.push(element);
    return element;
  };
  const told = FRIENDLY[problem.code] ?? (problem.status === 503 ? BUSY : problem);
  section.classList.toggle("is-calm", told !== problem || ["offline", "key_needed"].includes(problem.code));
  add("h2", told.title ?? "Something went wrong in the page");
  // One error is told by the detail alone; several are listed instead of it.
  if (problem.errors?.length > 1) {
    add("ul", "").append(
      ...problem.errors.map(({ where, message }) => Object.assign(document.createElement("li"), { textContent: `${where}: ${message}` })),
    );
  } else if (told.detail || !told.title) add("p", told.detail || String(problem));
  if (problem.requestId) add("p", `request ${problem.requestId}`, "request-id");
  const label = problem.code === "key_needed" ? "Enter a key" : "Try again";
  add("button", label).addEventListener("click", retry);
  parts.at(-1).type = "button";
  section.replaceChildren(...parts);
  section.hidden = false;
}
