import { getExamples } from "./api.js";
import { byId, fromTemplate } from "./dom.js";

/**
 * Offer example photographs until there is a picture on show. A model of few classes gets none: the examples show what a
 * model of a thousand classes knows, and the others would have to guess.
 *
 * @param {object} to
 * @param {{model: {labels?: string[]}} | null} to.version the service's /version
 * @param {(file: File, shows: string) => void} to.onPicture one was chosen; `shows` says in words what is on it
 * @param {(title: string) => void} to.onNothing it could not be had; the title says so
 */
export async function offerExamples({ version, onPicture, onNothing }) {
  const examples = version?.model.labels ? [] : await getExamples();
  if (!examples.length || pictureIsShown()) return;
  byId("examples-row").replaceChildren(...examples.map(({ file: name, shows }) => {
    const item = fromTemplate("example-template");
    const image = item.querySelector("img");
    image.src = `./${name}`;
    image.alt = shows;
    item.firstElementChild.addEventListener("click", async () => {
      const file = await load(name);
      if (pictureIsShown()) return; // another one came first
      if (file) onPicture(file, shows);
      else onNothing("That example did not come: choose a photograph");
    });
    return item;
  }));
  byId("examples-credit").textContent = `Photographs: ${credits(examples)}`;
  byId("examples").hidden = false;
}

const pictureIsShown = () => byId("zone").dataset.state === "photo";

/** Who took them, by licence: "Ann, Ben (CC0); Cleo (public domain)". */
function credits(examples) {
  const licences = [...new Set(examples.map(({ licence }) => licence))];
  return licences.map((each) => {
    const names = examples.filter(({ licence }) => licence === each).map(({ credit }) => credit);
    return `${names.join(", ")} (${each})`;
  }).join("; ");
}

async function load(name) {
  try {
    const answer = await fetch(`./${name}`);
    if (!answer.ok) return null;
    const content = await answer.blob();
    return new File([content], name, { type: content.type });
  } catch {
    return null;
  }
}
