/** The element with this id; throws when the page and the script disagree. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element #${id}`);
  return element;
}

/** A copy of the first element inside <template id=…>. */
export function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Set the text of a descendant, found by class name. */
export function setText(root, className, text) {
  root.querySelector(`.${className}`).textContent = text;
}

/** Show one element and hide its siblings named in the list. */
export function showOnly(element, among) {
  for (const each of among) each.hidden = each !== element;
}
