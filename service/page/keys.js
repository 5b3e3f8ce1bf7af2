// Arrow keys among the results: left and right by one, up and down by one row.

const STRAIGHT = 4; // how much a step along the row counts less than a step across rows

/** The element that `key` leads to from the focused one, or null. Above the first row lies the search box. */
export function neighbour(key, list, box) {
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
