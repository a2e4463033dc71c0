const GOLDEN_ANGLE_DEG = 137.508;

/**
 * A hue for a worker's name, the same on every visit. The name without its final number is hashed (FNV-1a), and the
 * number turns the hue by the golden angle: so worker1, worker2, … never come out alike, as hashes alone might.
 *
 * @param {string} name
 * @returns {number} degrees, 0 to 360
 */
export function workerHue(name) {
  const [, stem, number] = /^(.*?)(\d{0,6})$/s.exec(name);
  let hash = 0x811c9dc5;
  for (const char of stem) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193) >>> 0;
  return (hash % 360 + Number(number || 0) * GOLDEN_ANGLE_DEG) % 360;
}

/** Give an element the worker's colour; style.css decides how light and how strong. */
export function paint(element, name) {
  element.style.setProperty("--worker-hue", workerHue(name).toFixed(1));
}

/** A name with its dot of colour. */
export function workerChip(name) {
  const chip = document.createElement("span");
  chip.className = "worker";
  chip.textContent = name;
  paint(chip, name);
  return chip;
}
