// Files and uploads through the official Node client.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { toFile } from "openai";
import { begin, chatFile, connect, waitForEnd } from "./client.mjs";

const content = chatFile(3);
const { client, seen } = connect();
let folder;
let path;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "batchmill-node-"));
  path = join(folder, "in.jsonl");
  await writeFile(path, content);
});
after(() => rm(folder, { recursive: true }));

test("a file that is streamed from disk comes back byte for byte", async () => {
  const file = await client.files.create({ file: createReadStream(path), purpose: "batch" });
  assert.equal(file.status, "processed");
  assert.equal(file.filename, "in.jsonl");
  assert.equal(file.bytes, Buffer.byteLength(content));
  assert.deepEqual(await client.files.retrieve(file.id), file);
  assert.equal(await (await client.files.content(file.id)).text(), content);
});

test("a file is processed when its upload answers", async () => {
  const file = await client.files.create({ file: createReadStream(path), purpose: "batch" });
  seen.length = 0;
  await client.files.waitForProcessing(file.id);
  assert.deepEqual(seen, [`GET /files/${file.id}`]);
});

test("expires_after sets the end of a file", async () => {
  const file = await client.files.create({
    file: await toFile(Buffer.from(content), "in.jsonl"),
    purpose: "batch",
    expires_after: { anchor: "created_at", seconds: 3600 },
  });
  assert.equal(file.expires_at, file.created_at + 3600);
});

test("lists page by themselves, newest first", async () => {
  const made = [];
  for (let at = 0; at < 3; at++) {
    const file = await toFile(Buffer.from(content), `${at}.jsonl`);
    made.unshift((await client.files.create({ file, purpose: "batch" })).id);
  }
  seen.length = 0;
  const listed = [];
  for await (const file of client.files.list({ limit: 1 })) {
    listed.push(file.id);
    if (listed.length === 3) break;
  }
  assert.deepEqual(listed, made);
  assert.equal(seen.length, 3);
});

test("a deleted file is gone", async () => {
  const file = await client.files.create({ file: createReadStream(path), purpose: "batch" });
  assert.equal((await client.files.delete(file.id)).deleted, true);
  await assert.rejects(client.files.content(file.id), { status: 404, param: "id" });
});

test("a file that goes up in parts runs", async () => {
  const bytes = Buffer.from(content);
  const upload = await client.uploads.create({
    filename: "large.jsonl",
    purpose: "batch",
    bytes: bytes.length,
    mime_type: "application/jsonl",
  });
  assert.equal(upload.status, "pending");
  const cuts = [bytes.subarray(0, 100), bytes.subarray(100)];
  const parts = await Promise.all(
    cuts.map(async (cut) => client.uploads.parts.create(upload.id, { data: await toFile(cut) })),
  );
  const done = await client.uploads.complete(upload.id, {
    part_ids: parts.map((part) => part.id),
    md5: createHash("md5").update(bytes).digest("hex"),
  });
  assert.equal(done.status, "completed");
  const batch = await begin(client, done.file.id);
  assert.equal((await waitForEnd(client, batch.id)).status, "completed");
});

test("an upload can be cancelled", async () => {
  const upload = await client.uploads.create({
    filename: "never.jsonl",
    purpose: "batch",
    bytes: 1,
    mime_type: "application/jsonl",
  });
  assert.equal((await client.uploads.cancel(upload.id)).status, "cancelled");
});
