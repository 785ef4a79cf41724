#!/usr/bin/env bash
# The whole interface with curl alone: upload, create, wait, download.
# batchmill serve; then run this. BATCHMILL_SERVER_URL and MODEL name another server and model.
set -euo pipefail

server=${BATCHMILL_SERVER_URL:-http://127.0.0.1:8080/v1}
model=${MODEL:-smollm2-135m-instruct}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

call() { curl --silent --show-error --fail-with-body "$@"; }
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; } # of JSON without blanks, as the server writes it

for question in "What is 2+2?" "Name a colour."; do
  printf '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","messages":[{"role":"user","content":"%s"}],"max_tokens":40}}\n' \
    "$question" "$model" "$question"
done > "$folder/questions.jsonl"

file_id=$(call "$server/files" -F purpose=batch -F "file=@$folder/questions.jsonl" | field id)
echo "file   $file_id"

batch_id=$(call "$server/batches" -H 'Content-Type: application/json' -d "{
  \"input_file_id\": \"$file_id\",
  \"endpoint\": \"/v1/chat/completions\",
  \"completion_window\": \"24h\"
}" | grep -o 'batch_[0-9a-f-]*' | head -1)
echo "batch  $batch_id"

while true; do
  batch=$(call "$server/batches/$batch_id")
  status=$(field status <<< "$batch")
  echo "status $status"
  case $status in completed | failed | expired | cancelled) break ;; esac
  sleep 1
done

for which in output_file_id error_file_id; do
  result_id=$(field $which <<< "$batch")
  if [ -n "$result_id" ]; then call "$server/files/$result_id/content"; fi
done
