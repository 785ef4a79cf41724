#!/usr/bin/env bash
# From a table of questions to a table of answers: csv_to_answers.sh questions.csv answers.csv
# The table's first column is an id, its second the question; without one, a small one is made.
# batchmill serve; then run this. BATCHMILL_SERVER_URL and MODEL name another server and model.
set -euo pipefail

model=${MODEL:-smollm2-135m-instruct}
questions=${1:-questions.csv}
answers=${2:-answers.csv}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

if [ ! -e "$questions" ]; then
  printf '%s\n' 'sum,What is 2+2?' 'colour,"Name a colour, please."' > "$questions"
fi

batchmill csv-to-jsonl "$questions" --model "$model" -o "$folder/in.jsonl"
batchmill check "$folder/in.jsonl"
results=("$folder/out.jsonl" "$folder/errors.jsonl")
# It ends with 1 where a request failed; the table then says which, and why.
batchmill submit "$folder/in.jsonl" --wait -o "${results[0]}" --errors "${results[1]}" || [ $? = 1 ]
for each in "${!results[@]}"; do [ -e "${results[each]}" ] || unset "results[each]"; done
batchmill results-to-csv "${results[@]}" -o "$answers"
echo "The answers are in $answers."
