// The official Node client as the tests use it: its requests are counted, its server is in OPENAI_BASE_URL.

import { setTimeout as pause } from "node:timers/promises";
import OpenAI from "openai";

export const ENDED = ["completed", "failed", "expired", "cancelled"];
export const CHAT = "/v1/chat/completions";

/** A client, and the requests that it has sent so far as "METHOD /path". */
export function connect() {
  const seen = [];
  const counted = (url, init) => {
    seen.push(`${init?.method ?? "GET"} ${new URL(url).pathname.replace(/^\/v1/, "")}`);
    return fetch(url, init);
  };
  return { client: new OpenAI({ fetch: counted }), seen };
}

/** An input file of so many chat requests. */
export function chatFile(count) {
  return Array.from({ length: count }, (_, at) => {
    const messages = [{ role: "user", content: `word ${at}` }];
    const body = { model: "qwen-plus", messages };
    return JSON.stringify({ custom_id: `r${at}`, method: "POST", url: CHAT, body }) + "\n";
  }).join("");
}

/** Create a batch of chat requests. */
export function begin(client, inputFileId, more = {}) {
  const asked = { input_file_id: inputFileId, endpoint: CHAT, completion_window: "24h" };
  return client.batches.create({ ...asked, ...more });
}

/** The batch when nothing more will happen to it; the runner's own limit ends a wait in vain. */
export async function waitForEnd(client, id) {
  for (;;) {
    const batch = await client.batches.retrieve(id);
    if (ENDED.includes(batch.status)) return batch;
    await pause(10);
  }
}

/** The lines of a result file. */
export async function readLines(client, fileId) {
  const text = await (await client.files.content(fileId)).text();
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}
