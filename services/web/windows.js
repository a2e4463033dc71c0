import { byId } from "./dom.js";
import { KEPT_S } from "./live.js";

/** What the charts and the table can show: the last minutes, live, or hours that Prometheus has kept. */
export const LIVE = { hours: 0, words: `${KEPT_S / 60} minutes` };
const WINDOWS = [LIVE, { hours: 1, words: "1 hour" }, { hours: 6, words: "6 hours" }, { hours: 24, words: "24 hours" }];

/**
 * Let people choose a window.
 *
 * @param {(chosen: {hours: number, words: string}) => void} onChoose
 * @returns {{chosen: () => {hours: number, words: string}, offer: (on: boolean) => void}}
 *   offer: whether there is a history to choose; where there is none, the live window is chosen
 */
export function createChoice(onChoose) {
  const select = byId("charts-window");
  select.replaceChildren(...WINDOWS.map(({ hours, words }) => new Option(words, hours)));
  select.value = LIVE.hours; // browsers keep a choice when a page is loaded again
  const chosen = () => WINDOWS.find(({ hours }) => hours === Number(select.value));
  select.addEventListener("change", () => onChoose(chosen()));
  return {
    chosen,
    offer(on) {
      byId("charts-choice").hidden = !on;
      if (!on) select.value = LIVE.hours;
    },
  };
}
