// Results while a person types: soon after a key, never in the middle of composing a character.

const SOON_MS = 140; // after the last key
const SETTLED_MS = 1500; // no key for so long: what stands there is meant

/**
 * Watch the search box. `type(text)` is called soon after a change, `settle()` when the typing has come to rest.
 * Returns stop(), which forgets what is still to come (because the sentence was sent off, or the page left it).
 */
export function watchTyping(box, { type, settle }) {
  let soon = null;
  let rest = null;
  const stop = () => {
    clearTimeout(soon);
    clearTimeout(rest);
  };
  const changed = () => {
    stop();
    const text = box.value.trim();
    soon = setTimeout(() => type(text), text ? SOON_MS : 0);
    rest = setTimeout(settle, SETTLED_MS);
  };
  box.addEventListener("input", (event) => {
    if (!event.isComposing) changed();
  });
  box.addEventListener("compositionend", changed);
  return stop;
}
