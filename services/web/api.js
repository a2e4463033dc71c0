import { keyHeader } from "./key.js";
import { parseServerTiming } from "./timing.js";

/** A request ends after so long without progress. An upload that moves may take longer. */
const TIMEOUT_MS = 60_000;

/** Why a request brought no answer. `status` is 0 when no HTTP answer came at all. */
export class Failure extends Error {
  /**
   * @param {number} status
   * @param {object} problem the members of an RFC 9457 problem, as far as the server sent any
   * @param {number | null} retryAfterS
   */
  constructor(status, problem = {}, retryAfterS = null) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.status = status;
    this.slug = String(problem.type ?? "").split("/").pop();
    this.title = problem.title ?? "";
    this.detail = problem.detail ?? "";
    this.worker = problem.worker ?? "";
    this.retryAfterS = retryAfterS;
  }
}

/** Seconds to wait by a Retry-After header (seconds or a date), kept within 1 to 60. */
export function parseRetryAfter(header, nowMs = Date.now()) {
  const seconds = /^\s*\d+\s*$/.test(header ?? "") ? Number(header) : (Date.parse(header ?? "") - nowMs) / 1000;
  return Number.isFinite(seconds) ? Math.min(60, Math.max(1, Math.ceil(seconds))) : 2;
}

/**
 * Ask what a picture shows. XMLHttpRequest and not fetch, because only it reports the progress of an upload.
 *
 * @param {File} file
 * @param {{onProgress?: (share: number) => void, signal?: AbortSignal}} options share is 0 to 1
 * @returns {Promise<object>} the service's JSON, with `browserMs` and `server` (durations by name, ms) added
 * @throws {Failure}
 */
export function predict(file, { onProgress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("image", file, file.name || "image");
    request.open("POST", "./predict");
    request.responseType = "json";
    request.timeout = TIMEOUT_MS;
    request.setRequestHeader("Accept", "application/json, application/problem+json");
    for (const [name, value] of Object.entries(keyHeader())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      request.timeout = performance.now() - sentMs + TIMEOUT_MS; // it counts from the start of the request
      onProgress?.(event.loaded / event.total);
    };
    let sentMs = 0;
    request.onload = () => {
      const browserMs = performance.now() - sentMs;
      const body = request.response;
      if (request.status !== 200) {
        const retryAfterS = request.status === 429 ? parseRetryAfter(request.getResponseHeader("Retry-After")) : null;
        reject(new Failure(request.status, body ?? {}, retryAfterS));
      } else if (!Array.isArray(body?.predictions)) {
        reject(new Failure(200, { title: "The answer was not understood" }));
      } else {
        resolve({ ...body, browserMs, server: parseServerTiming(request.getResponseHeader("Server-Timing")) });
      }
    };
    request.onerror = async () => {
      const problem = (await canBeRead(file)) ? {} : { type: "unreadable" };
      reject(signal?.aborted ? replaced() : new Failure(0, problem));
    };
    request.ontimeout = () => reject(new Failure(0, { type: "late", detail: `For ${TIMEOUT_MS / 1000} seconds nothing was sent or answered.` }));
    request.onabort = () => reject(replaced());
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    sentMs = performance.now();
    request.send(form);
  });
}

const replaced = () => new DOMException("Replaced by a newer picture", "AbortError");

/** A folder cannot be read, nor a file that was moved or changed after it was chosen: browsers then send nothing. */
const canBeRead = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

async function getJson(url) {
  try {
    const response = await fetch(url, { headers: { Accept: "application/json" }, cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** The service's /version (model, limits, formats), or null when it cannot be had. */
export const getVersion = () => getJson("./version");

/** The list of example photographs (see examples.json); empty when the page has none or it cannot be had. */
export const getExamples = async () => (await getJson("./examples.json")) ?? [];

/** The balancer's /status (policy, pool_size, workers), or null when it cannot be had. */
export const getStatus = () => getJson("./status");
