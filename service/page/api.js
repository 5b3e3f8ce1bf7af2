// The REST calls that the page makes. Every address is relative, so that the page also works below a path prefix.

/** What went wrong, in the service's own words (RFC 9457), or in ours when no answer came. */
export class Problem extends Error {
  constructor({ title, detail = "", status = 0, errors = [], request_id = null }) {
    super(title);
    Object.assign(this, { title, detail, status, errors, requestId: request_id });
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The service did not answer",
      detail: "It may have stopped, or the connection was cut; a picture over the size limit also ends like this.",
    });
  }
  const body = await response.json().catch((error) => {
    // Given up while the answer was being read; anything else is an answer that is no JSON.
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (response.ok && body) return body;
  throw new Problem({
    title: body?.title ?? `The service answered ${response.status}`,
    detail: body?.detail,
    status: response.status,
    errors: body?.errors ?? [],
    request_id: body?.request_id ?? response.headers.get("X-Request-ID"),
  });
}

const postJson = (path, body, signal) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

export const readInfo = () => call("info");

/**
 * Search with a query: {text}, {file} (a File or Blob) or {id} (of an indexed picture).
 * `params` holds limit, offset, version, target. Resolves to the one result of that query, with `index` and `timing`.
 */
export async function search(query, params, signal) {
  let answer;
  if (query.file) {
    const form = new FormData();
    form.append("file", query.file, query.file.name ?? "picture");
    form.append("params", JSON.stringify(params));
    answer = await call("search/image", { method: "POST", body: form, signal });
  } else if (query.id) {
    answer = await postJson("search/image", { image: { id: query.id }, ...params }, signal);
  } else {
    answer = await postJson("search/text", { query: query.text, ...params }, signal);
  }
  return { ...answer.results[0], index: answer.index, timing: answer.timing_ms };
}

/** The hits of several sentences, each list best first. */
export async function searchMany(texts, params) {
  const answer = await postJson("search/text", { query: texts, ...params });
  return answer.results.map((result) => result.hits);
}
