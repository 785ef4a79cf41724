// The tools: sends what was chosen or written, and offers what the server made of it.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("tool");
  const result = byId("tool-result");
  const previewBytes = 64 * 1024;
  const previewLines = 5;
  const previewChars = 2000;
  let sending = null;
  let saved = "";

  // --- what is sent ---

  function kindOf() {
    const chosen = form.querySelector("input[name=kind]:checked");
    return chosen ? chosen.value : "";
  }

  // What the chosen kind does not need is neither shown nor sent.
  function showKind() {
    for (const area of form.querySelectorAll("[data-kinds]")) {
      area.hidden = !area.dataset.kinds.split(" ").includes(kindOf());
      for (const control of area.querySelectorAll("input, select, textarea")) control.disabled = area.hidden;
    }
    const thinking = byId("tool-thinking");
    if (!thinking) return;
    byId("tool-budget-field").hidden = thinking.value !== "on";
    byId("tool-budget").disabled = thinking.disabled || thinking.value !== "on";
  }

  function partsOf(area) {
    const files = area.querySelector("input[data-files]");
    if (files && files.files.length) return [...files.files].map((file) => ({ name: file.name, blob: file }));
    const text = area.querySelector("textarea");
    return text ? [{ name: "", blob: new Blob([text.value]) }] : [];
  }

  function collect() {
    const areas = [...form.querySelectorAll("[data-part]")].filter((area) => !area.closest("[hidden]"));
    const empty = areas.find((area) => partsOf(area).every((part) => part.blob.size === 0));
    return { parts: areas.flatMap(partsOf), empty };
  }

  function addressOf(parts, filename) {
    const fields = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...fields]) if (value === "") fields.delete(name);
    fields.set("filename", filename);
    for (const part of parts) {
      fields.append("name", part.name || "text");
      fields.append("size", part.blob.size);
    }
    return `${form.getAttribute("action")}?${fields}`;
  }

  function headersOf() {
    const headers = {};
    for (const field of form.querySelectorAll("[data-header]")) {
      if (!field.disabled && field.value) headers[field.dataset.header] = encodeURIComponent(field.value);
    }
    return headers;
  }

  function faultOf(parts, empty, size) {
    if (empty) {
      const box = empty.querySelector("textarea, input");
      box.focus();
      return box.matches("textarea") ? "There is nothing to make requests of: write a line." : "Choose a file first.";
    }
    if (size > Number(form.dataset.max)) {
      return `This has ${sizeText(size)}: at most ${form.dataset.maxText} are accepted.`;
    }
    return "";
  }

  // --- what is told ---

  function showFault(text) {
    byId("tool-fault").textContent = text;
    byId("tool-fault").hidden = text === "";
  }

  function showBusy(isBusy) {
    byId("tool-state").hidden = byId("tool-stop").hidden = !isBusy;
    byId("tool-go").disabled = byId("tool-create").disabled = isBusy;
  }

  function follow(size, then) {
    return (sent) => {
      const share = size ? Math.min(100, Math.floor((100 * sent) / size)) : 100;
      if (sent >= size) byId("tool-progress").removeAttribute("value");
      else byId("tool-progress").value = share;
      byId("tool-said").textContent = sent >= size ? then : `Sending ${share} %: ${sizeText(sent)} of ${sizeText(size)}`;
    };
  }

  function receive(bytes) {
    byId("tool-said").textContent = `Receiving ${sizeText(bytes)}`;
  }

  function cut(line) {
    return line.length > previewChars ? `${line.slice(0, previewChars)}…` : line;
  }

  async function preview(blob) {
    const text = await blob.slice(0, previewBytes).text();
    const lines = text.replace(/^\uFEFF/, "").split("\n").filter((line) => line.trim());
    byId("tool-preview").textContent = lines.slice(0, previewLines).map(cut).join("\n");
  }

  async function show(blob, count, filename) {
    await preview(blob);
    if (saved) URL.revokeObjectURL(saved);
    saved = URL.createObjectURL(blob);
    byId("tool-save").href = saved;
    byId("tool-save").download = filename;
    byId("tool-count").textContent = `${plural(count, form.dataset.noun)} in ${filename}, ${sizeText(blob.size)}.`;
    byId("tool-create").hidden = !result.dataset.uploads || count === 0;
    byId("tool-create").onclick = () => createFrom(blob, filename);
    result.hidden = false;
    result.focus();
  }

  // --- what is done ---

  async function follows(work) {
    showFault("");
    showBusy(true);
    try {
      await work();
    } catch (error) {
      showFault(error.message);
    }
    sending = null;
    showBusy(false);
  }

  async function convert(parts, size) {
    const stem = (parts[0].name || "requests").replace(/\.[^.]*$/, "");
    const filename = stem + form.dataset.ending;
    const body = new Blob(parts.map((part) => part.blob));
    sending = sendBody(addressOf(parts, filename), body, {
      headers: headersOf(), onSent: follow(size, "Sent. The server is converting it."), onRead: receive,
    });
    const request = await sending.done;
    await show(request.response, Number(request.getResponseHeader("x-count")), filename);
  }

  function createFrom(blob, filename) {
    follows(async () => {
      const address = new URLSearchParams({ filename, kind: "jsonl" });
      sending = sendBody(`${result.dataset.uploads}?${address}`, blob, {
        onSent: follow(blob.size, "Sent. The server is checking and keeping it."),
      });
      const request = await sending.done;
      const { id } = JSON.parse(await request.response.text());
      location.assign(`${result.dataset.create}?${new URLSearchParams({ file: id })}`);
    });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { parts, empty } = collect();
    const size = parts.reduce((sum, part) => sum + part.blob.size, 0);
    const fault = faultOf(parts, empty, size);
    if (fault) { showFault(fault); return; }
    result.hidden = true;
    follows(() => convert(parts, size));
  });
  form.addEventListener("change", () => { showKind(); showFault(""); });
  byId("tool-stop").addEventListener("click", () => {
    if (sending) sending.stop();
    sending = null;
    showBusy(false);
  });
  for (const area of form.querySelectorAll("[data-drop]")) takeDrops(area, area.querySelector("input"));
  showKind();
})();
