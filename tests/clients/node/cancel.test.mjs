// A batch is cancelled while its upstream holds every answer back; whoever runs this does the holding.

import assert from "node:assert/strict";
import { test } from "node:test";
import { toFile } from "openai";
import { begin, chatFile, connect, readLines, waitForEnd } from "./client.mjs";

const COUNT = 4;
const { client } = connect();

test("a cancelled batch keeps a line for every request", async () => {
  const file = await toFile(Buffer.from(chatFile(COUNT)), "in.jsonl");
  const input = await client.files.create({ file, purpose: "batch" });
  const made = await begin(client, input.id);
  assert.equal((await client.batches.cancel(made.id)).status, "cancelling");
  const batch = await waitForEnd(client, made.id);
  assert.equal(batch.status, "cancelled");
  assert.deepEqual(await client.batches.cancel(made.id), batch);
});

test("its lines that did not run say so", async () => {
  const file = await toFile(Buffer.from(chatFile(COUNT)), "in.jsonl");
  const input = await client.files.create({ file, purpose: "batch" });
  const made = await begin(client, input.id);
  while ((await client.batches.retrieve(made.id)).status === "validating");
  await client.batches.cancel(made.id);
  const batch = await waitForEnd(client, made.id);
  assert.equal(batch.output_file_id, null);
  const codes = (await readLines(client, batch.error_file_id)).map((line) => line.error.code);
  assert.deepEqual(codes, Array(COUNT).fill("batch_cancelled"));
});
