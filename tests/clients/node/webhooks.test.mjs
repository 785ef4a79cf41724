// Webhooks through the official Node client: managed by it, and verified by it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { toFile } from "openai";
import { begin, chatFile, connect, waitForEnd } from "./client.mjs";

const { client } = connect();
const heard = [];
let receiver;
let url;

before(async () => {
  receiver = createServer(async (request, response) => {
    const body = await text(request);
    response.writeHead(204).end();
    heard.push({ body, headers: request.headers });
    receiver.emit("heard");
  });
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  url = `http://127.0.0.1:${receiver.address().port}/`;
});
after(() => receiver.close());

test("endpoints are made, changed, tested, rotated and deleted", async () => {
  const made = await client.webhooks.create({ name: "a", url, event_types: ["batch.failed"] });
  assert.equal((await client.webhooks.retrieve(made.id)).url, url);
  assert.equal((await client.webhooks.update(made.id, { name: "b" })).name, "b");
  const tested = await client.webhooks.test(made.id, { event_type: "batch.completed" });
  assert.equal(tested.status_code, 204);
  const { body, headers } = heard.at(-1);
  const event = await client.webhooks.unwrap(body, headers, made.signing_secret);
  assert.equal(event.type, "batch.completed");
  const rotated = await client.webhooks.rotateSecret(made.id);
  assert.notEqual(rotated.signing_secret, made.signing_secret);
  await client.webhooks.test(made.id, { event_type: "batch.completed" });
  const late = heard.at(-1);
  await client.webhooks.unwrap(late.body, late.headers, rotated.signing_secret);
  await assert.rejects(client.webhooks.unwrap(late.body, late.headers, made.signing_secret));
  assert.equal((await client.webhooks.delete(made.id)).deleted, true);
});

test("the end of a batch is told and can be verified", async () => {
  const made = await client.webhooks.create({ name: "c", url, event_types: ["batch.completed"] });
  const input = await toFile(Buffer.from(chatFile(2)), "in.jsonl");
  const file = await client.files.create({ file: input, purpose: "batch" });
  const batch = await begin(client, file.id);
  assert.equal((await waitForEnd(client, batch.id)).status, "completed");
  while (!heard.some(({ body }) => body.includes(batch.id))) await once(receiver, "heard");
  const { body, headers } = heard.find(({ body }) => body.includes(batch.id));
  const event = await client.webhooks.unwrap(body, headers, made.signing_secret);
  assert.equal(event.type, "batch.completed");
  assert.equal(event.data.id, batch.id);
  await client.webhooks.delete(made.id);
});
