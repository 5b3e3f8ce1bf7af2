// The REST calls that the page makes. Every address is relative, so that the page also works below a path prefix.

const LONGEST_WAIT_S = 5; // a busy service that asks for more patience than this is told of at once
const NO_ANSWER = {
  code: "no_answer",
  title: "The service did not answer",
  detail: "It may have stopped, or the connection was cut; a picture over the size limit also ends like this.",
};
const OFFLINE = { code: "offline", title: "You are offline", detail: "The search goes on as soon as the connection is back." };

/** What went wrong, in the service's own words (RFC 9457), or in ours when no answer came. */
export class Problem extends Error {
  constructor({ title, code = "", detail = "", status = 0, errors = [], request_id = null, retryAfter = null }) {
    super(title);
    Object.assign(this, { title, code, detail, status, errors, requestId: request_id, retryAfter });
  }
}

let askForKey = null;

/** `ask()` is called when the service wants a key; it resolves when there is a session, or rejects. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Answer of `path`. A service that wants a key gets one; a service that is busy is asked once more, quietly. */
async function call(path, options = {}) {
  try {
    return await callOnce(path, options);
  } catch (error) {
    if (error.status === 401 && askForKey) await askForKey();
    else if (isBusy(error)) await pause(error.retryAfter, options.signal);
    else throw error;
    return callOnce(path, options);
  }
}

const isBusy = ({ status, retryAfter }) => (status === 503 || status === 429) && retryAfter !== null && retryAfter <= LONGEST_WAIT_S;

/** Wait, each page a little differently, so that they do not all come back at the same moment. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds + 250 * Math.random());
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

async function callOnce(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(navigator.onLine ? NO_ANSWER : OFFLINE);
  }
  if (response.status === 204) return null;
  const body = await response.json().catch((error) => {
    // Given up while the answer was being read; anything else is an answer that is no JSON.
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (response.ok && body) return body;
  const wait = Number.parseFloat(response.headers.get("Retry-After"));
  throw new Problem({
    title: body?.title ?? `The service answered ${response.status}`,
    code: body?.code,
    detail: body?.detail,
    status: response.status,
    errors: body?.errors ?? [],
    request_id: body?.request_id ?? response.headers.get("X-Request-ID"),
    retryAfter: Number.isFinite(wait) ? wait : null,
  });
}

const asJson = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export const readInfo = () => call("info");

/** Exchange a key for a cookie that this page's requests and pictures carry. */
export const openSession = (key) => callOnce("session", asJson({ key }));

/**
 * Search with a query: {text}, {file} (a File or Blob) or {id} (of an indexed picture).
 * `params` holds the other fields. Resolves to the one result of that query, with `index` and `timing`.
 */
export async function search(query, params, signal) {
  let answer;
  if (query.file) {
    const form = new FormData();
    form.append("file", query.file, query.file.name ?? "picture");
    form.append("params", JSON.stringify(params));
    answer = await call("search/image", { method: "POST", body: form, signal });
  } else if (query.id) {
    answer = await call("search/image", asJson({ image: { id: query.id }, ...params }, signal));
  } else {
    answer = await call("search/text", asJson({ query: query.text, ...params }, signal));
  }
  return { ...answer.results[0], index: answer.index, timing: answer.timing_ms };
}

/** The hits of several sentences, each list best first. */
export async function searchMany(texts, params) {
  const answer = await call("search/text", asJson({ query: texts, ...params }));
  return answer.results.map((result) => result.hits);
}
