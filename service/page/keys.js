// Keys of the page: "/" to the search box, Escape out of it, arrows among the results.

const STRAIGHT = 4; // how much a step along the row counts less than a step across rows

/** Listen to the whole page, except while a dialog is open or a control of its own takes the key. */
export function watchKeys({ box, list }) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("dialog, [popover]")) return;
    if (document.querySelector("dialog[open]")) return;
    const isTyping = event.target === box;
    if (event.key === "/" && !isTyping) {
      box.focus();
      box.select();
    } else if (event.key === "Escape") {
      if (document.querySelector(":popover-open")) return; // Escape closes that first
      if (!isTyping) box.focus();
      else if (box.value) {
        box.value = "";
        box.dispatchEvent(new Event("input"));
      } else box.blur();
    } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
      if (isTyping && event.key !== "ArrowDown") return;
      const wanted = neighbour(event.key, list, box);
      if (!wanted) return;
      wanted.focus();
    } else return;
    event.preventDefault();
  });
}

/** The element that `key` leads to from the focused one, or null. Above the first row lies the search box. */
function neighbour(key, list, box) {
  const buttons = [...list.querySelectorAll("li > button")];
  const here = buttons.indexOf(document.activeElement);
  if (here < 0) return document.activeElement === box && key === "ArrowDown" ? (buttons[0] ?? null) : null;
  const near = { Home: 0, End: buttons.length - 1, ArrowLeft: here - 1, ArrowRight: here + 1 }[key];
  if (near !== undefined) return buttons[near] ?? null;
  return nearestInOtherRow(buttons, here, key === "ArrowDown" ? 1 : -1) ?? (key === "ArrowUp" ? box : null);
}

function nearestInOtherRow(buttons, here, direction) {
  const middle = ({ left, width }) => left + width / 2;
  const from = buttons[here].getBoundingClientRect();
  let best = null;
  for (const button of buttons) {
    const place = button.getBoundingClientRect();
    const across = direction * (place.top - from.top);
    if (across < 1) continue;
    const distance = STRAIGHT * across + Math.abs(middle(place) - middle(from));
    if (!best || distance < best.distance) best = { button, distance };
  }
  return best?.button ?? null;
}
