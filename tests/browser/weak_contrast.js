// Evaluates to [contrast, markup] of every visible text whose contrast is below `least`.
(least) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  // The browser itself resolves and blends the colours, painted one above the other.
  const paint = (colours) => {
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };

  // WCAG 2.2, "relative luminance".
  const luminance = (rgb) => {
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };

  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());

  const contrast = (element) => {
    const backs = [];
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      backs.unshift(style.backgroundColor);
      opacity *= Number(style.opacity);
    }
    const back = paint(backs);
    canvas.globalAlpha = opacity;
    const front = paint([getComputedStyle(element).color]);
    canvas.globalAlpha = 1;
    const [light, dark] = [luminance(front), luminance(back)].sort((one, other) => other - one);
    return (light + 0.05) / (dark + 0.05);
  };

  return [...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility() && hasText(element))
    .map((element) => [contrast(element), element.outerHTML.slice(0, 120)])
    .filter(([value]) => value < least);
}
