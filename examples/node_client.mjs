// A minute with the official Node client: three questions in one batch.
//
// npm install openai; batchmill serve; then: node node_client.mjs
// BATCHMILL_SERVER_URL and MODEL name another server and another model.

import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const model = process.env.MODEL ?? "smollm2-135m-instruct";
const questions = ["What is 2+2?", "Name a colour.", "Who wrote Hamlet?"];
const client = new OpenAI({
  baseURL: process.env.BATCHMILL_SERVER_URL ?? "http://127.0.0.1:8080/v1",
  apiKey: process.env.BATCHMILL_API_KEY ?? "unused",
});

const lines = questions.map((content, number) =>
  JSON.stringify({
    custom_id: String(number),
    method: "POST",
    url: "/v1/chat/completions",
    body: { model, messages: [{ role: "user", content }], max_tokens: 40 },
  }),
);
const file = await client.files.create({
  file: await toFile(Buffer.from(lines.join("\n")), "questions.jsonl"),
  purpose: "batch",
});
let batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
console.log(`${batch.id} of ${questions.length} questions`);

while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await pause(1000);
  batch = await client.batches.retrieve(batch.id);
}
console.log(batch.status);

if (batch.output_file_id) {
  const text = await (await client.files.content(batch.output_file_id)).text();
  for (const line of text.trim().split("\n")) {
    const { custom_id, response } = JSON.parse(line);
    console.log(questions[Number(custom_id)], response.body.choices[0].message.content.trim());
  }
}
if (batch.error_file_id) {
  console.log(await (await client.files.content(batch.error_file_id)).text());
}
