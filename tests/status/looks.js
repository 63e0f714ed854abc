// Measures a page as it is shown: text that is hard to read, and boxes that stick out of the window.
() => {
  const parse = (text) => {
    const mixed = text.match(/^color\(srgb ([\d.]+) ([\d.]+) ([\d.]+)(?: \/ ([\d.]+))?\)$/);
    if (mixed) return [mixed[1] * 255, mixed[2] * 255, mixed[3] * 255, mixed[4] === undefined ? 1 : Number(mixed[4])];
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = [], seen = new Set();
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!(own || ["INPUT", "SELECT"].includes(element.tagName)) || !box.width || style.visibility === "hidden") continue;
    if (["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"].includes(element.tagName)) continue;
    const back = behind(element), front = over(parse(style.color), back);
    const size = parseFloat(style.fontSize), big = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const found = ratio(front, back);
    seen.add(found.toFixed(2));
    if (found < (big ? 3 : 4.5)) faint.push(`${found.toFixed(2)} ${element.className || element.tagName}: ${element.textContent.slice(0, 30)}`);
  }
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  return { faint, wide, measured: seen.size };
}
