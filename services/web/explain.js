const MB = 1024 * 1024;
const NBSP = "\u00a0"; // no line ends between a number and its unit

/**
 * A size for people, in the units of the service's limit: 1 MB = 1024² bytes. Files are rounded up and limits down, so
 * that a file over the limit never reads like one within it.
 */
export function formatBytes(bytes, round = Math.ceil) {
  if (bytes < 1024) return `${bytes}${NBSP}${bytes === 1 ? "byte" : "bytes"}`;
  const kilobytes = round(bytes / 1024);
  return kilobytes < 1024 ? `${kilobytes}${NBSP}KB` : `${round((bytes / MB) * 10) / 10}${NBSP}MB`;
}

/** What a file may be at most, for people: "20 MB". */
export const formatLimit = (bytes) => formatBytes(bytes, Math.floor);

function sizeText(file, version, detail = "") {
  if (!version) return "";
  const { max_bytes: atWorker, max_pixels: pixels } = version.limits;
  const bytes = Number(/at most (\d+) bytes/.exec(detail)?.[1] ?? atWorker); // the balancer may allow less
  const size = file && file.size > bytes ? `This file has ${formatBytes(file.size)}. ` : "";
  return `${size}The limit is ${formatLimit(bytes)} and ${Math.floor(pixels / 1e6)} million pixels.`;
}

/** What the worker itself says, where that is more than the page can know; it begins with a small letter. */
function sentence(failure, general) {
  const { detail = "" } = failure;
  return !detail || general.test(detail) ? "" : `${detail.charAt(0).toUpperCase()}${detail.slice(1)}.`;
}

/**
 * What to tell a person about a failure.
 *
 * @param {import("./api.js").Failure} failure
 * @param {{formats?: string[], limits?: {max_bytes: number, max_pixels: number}} | null} version
 * @param {File} [file] what was to be looked at
 * @returns {{kind: string, kicker: string, title: string, text: string, retry: boolean}}
 */
export function explain(failure, version, file) {
  const formats = (version?.formats ?? ["JPEG", "PNG", "WEBP", "GIF"]).map((name) => (name === "WEBP" ? "WebP" : name));
  const listed = `${formats.slice(0, -1).join(", ")} or ${formats.at(-1)}`;
  if (failure.slug === "unreadable") {
    return {
      kind: "picture", kicker: "Not sent", title: "That file cannot be read",
      text: "It is a folder, or it was moved or changed after you chose it. Choose a photograph.", retry: false,
    };
  }
  if (failure.slug === "late") {
    return {
      kind: "gone", kicker: "No answer", title: "No answer came in time",
      text: `${failure.detail} Your picture is still here.`, retry: true,
    };
  }
  switch (failure.status) {
    case 400:
      return {
        kind: "picture", kicker: "Nothing to look at", title: "No picture arrived",
        text: "The file seems to be empty. Choose another one.", retry: false,
      };
    case 401:
      return {
        kind: "key", kicker: "Not sent through", title: "This service needs a key",
        text: /not known/.test(failure.detail)
          ? "The key that you gave is not known here. Ask who runs this service for one."
          : "Ask who runs this service for one, and give it here. It stays in this tab.",
        retry: false,
      };
    case 413:
      return {
        kind: "picture", kicker: "Not sent through", title: "That picture is too large",
        text: sentence(failure, /bytes|by \d+ pixels|not sent/)
          || `${sizeText(file, version, failure.detail)} Make it smaller and try again: the network looks at a few hundred pixels only.`,
        retry: false,
      };
    case 415:
      return {
        kind: "picture", kicker: "Not a picture", title: "That file cannot be read as a picture",
        text: sentence(failure, /accepted format/) || `Whatever its name says, its content is no ${listed}.`, retry: false,
      };
    case 422:
      return {
        kind: "picture", kicker: "Damaged", title: "That picture is broken",
        text: "It starts like a picture and cannot be decoded to its end. Was it copied or downloaded whole?", retry: false,
      };
    case 429:
      return failure.slug === "too-many-requests"
        ? {
          kind: "busy", kicker: "Slow down", title: "Too many pictures from your address",
          text: "You, or people who share your connection, send faster than one address may. That passes.", retry: true,
        }
        : {
          kind: "busy", kicker: "Busy", title: "All workers are busy",
          text: "More pictures arrive than they can look at. That passes.", retry: true,
        };
    case 0:
    case 502:
    case 503:
    case 504:
      return {
        kind: "gone", kicker: "No answer", title: "The service cannot be reached",
        text: failure.status
          ? "The balancer is there, and no worker behind it answers. Your picture is still here."
          : "Neither the balancer nor a worker answers. Your picture is still here.",
        retry: true,
      };
    default:
      return {
        kind: "other", kicker: "Unexpected", title: failure.title || "Something went wrong",
        text: failure.detail || "The service gave an answer which this page does not know.", retry: true,
      };
  }
}

/** The failure in the service's own terms, for whoever debugs it. */
export function technical(failure) {
  const code = failure.status ? `HTTP ${failure.status}` : "no HTTP answer";
  return [code, failure.slug, failure.worker, failure.detail].filter(Boolean).join(" · ");
}
