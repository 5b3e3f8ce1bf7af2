// More results as a person comes near the end of the list. The button stays: for the keyboard, and where nothing scrolls.

const NEAR = "700px"; // how far below the window the end may lie

/**
 * Call `load()` when the end of the list, where `button` stands, comes near. Before anybody has scrolled, only a list
 * that leaves the window unfilled is continued: most searches end with a glance at the first pictures.
 * Returns look(), to be called whenever the list has changed.
 */
export function watchEnd(button, load) {
  if (!("IntersectionObserver" in window)) return () => {};
  let isNear = false;
  const consider = () => {
    // Who has walked to the button by keyboard presses it, and is led on from there.
    if (!isNear || button.hidden || document.activeElement === button) return;
    if (scrollY > 0 || button.getBoundingClientRect().bottom < innerHeight) load();
  };
  const observer = new IntersectionObserver(
    (entries) => {
      isNear = entries.at(-1).isIntersecting;
      consider();
    },
    { rootMargin: `0px 0px ${NEAR} 0px` },
  );
  observer.observe(button);
  addEventListener("scroll", consider, { passive: true });
  return () => {
    // Observed afresh, an element is reported at once, also where it has not moved.
    observer.unobserve(button);
    observer.observe(button);
  };
}
