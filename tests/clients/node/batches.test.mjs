// Batches through the official Node client: made, run, listed, cancelled, and what it raises.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BadRequestError, ConflictError, NotFoundError, toFile } from "openai";
import { begin, chatFile, connect, readLines, waitForEnd } from "./client.mjs";

const COUNT = 5;
const UNKNOWN = "batch_00000000-0000-4000-8000-000000000000";
const { client, seen } = connect();

async function upload(count) {
  const file = await toFile(Buffer.from(chatFile(count)), "in.jsonl");
  return (await client.files.create({ file, purpose: "batch" })).id;
}

test("a batch goes through", async () => {
  const made = await begin(client, await upload(COUNT), { metadata: { run: "7" } });
  assert.equal(made.status, "validating");
  assert.equal(made.expires_at, made.created_at + 24 * 3600);
  const batch = await waitForEnd(client, made.id);
  assert.equal(batch.status, "completed");
  assert.deepEqual(batch.metadata, { run: "7" });
  assert.deepEqual(batch.request_counts, { total: COUNT, completed: COUNT, failed: 0 });
  const lines = await readLines(client, batch.output_file_id);
  const said = lines.map((line) => line.response.body.choices[0].message.content);
  assert.deepEqual(said, Array.from({ length: COUNT }, (_, at) => `You said: word ${at}`));
});

test("lists page by themselves, newest first", async () => {
  const input = await upload(1);
  const made = [];
  for (let at = 0; at < 3; at++) made.unshift((await begin(client, input)).id);
  seen.length = 0;
  const listed = [];
  for await (const batch of client.batches.list({ limit: 2 })) listed.push(batch.id);
  assert.deepEqual(listed.slice(0, 3), made);
  assert.equal(new Set(listed).size, listed.length);
  assert.equal(seen.length, Math.ceil(listed.length / 2));
});

test("an idempotency key answers the same batch again", async () => {
  const input = await upload(1);
  const asked = { input_file_id: input, endpoint: "/v1/chat/completions", completion_window: "24h" };
  const options = { headers: { "Idempotency-Key": "node" } };
  const first = await client.batches.create(asked, options);
  const again = await client.batches.create(asked, options);
  assert.equal(again.id, first.id);
});

test("a batch that has ended cannot be cancelled, and is asked once", async () => {
  const batch = await waitForEnd(client, (await begin(client, await upload(1))).id);
  seen.length = 0;
  await assert.rejects(client.batches.cancel(batch.id), (error) => {
    assert.ok(error instanceof ConflictError);
    assert.match(error.message, /Cannot cancel a batch with status 'completed'/);
    assert.match(error.requestID, /^req_/);
    return true;
  });
  assert.deepEqual(seen, [`POST /batches/${batch.id}/cancel`]);
});

test("an unknown batch is not found", async () => {
  await assert.rejects(client.batches.retrieve(UNKNOWN), NotFoundError);
  await assert.rejects(client.batches.cancel(UNKNOWN), NotFoundError);
});

test("a batch that cannot be asked for is a bad request that names the field", async () => {
  const wrong = { endpoint: "/v1/nothing", completion_window: "1h", metadata: { tags: ["a"] } };
  for (const [field, value] of Object.entries(wrong)) {
    await assert.rejects(begin(client, "file-batch-unknown", { [field]: value }), (error) => {
      assert.ok(error instanceof BadRequestError);
      assert.ok(error.param.startsWith(field));
      return true;
    });
  }
});

test("the models are those that are served", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("qwen-plus"));
});
