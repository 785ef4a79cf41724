// Creating a batch: the file is chosen or dropped, sent with its progress shown, and then checked.
// Every page that opens the dialog loads this and sending.js. The form is renewed step by step, so that nothing
// here holds on to an element: it listens to the document.
"use strict";
(() => {
  let upload = null;

  function byId(id) {
    return document.getElementById(id);
  }

  function isTable(file) {
    return /\.(csv|tsv)$/i.test(file.name);
  }

  function showError(text) {
    const message = document.createElement("p");
    message.className = "message bad";
    message.setAttribute("role", "alert");
    message.textContent = text;
    byId("create-error").replaceChildren(message);
    message.scrollIntoView({ block: "nearest" });
  }

  // --- choosing ---

  function noteFile(input) {
    const file = input.files[0];
    input.form.elements.file.value = input.form.elements.is_sent.value = "";
    const table = byId("create-table");
    table.hidden = table.disabled = !(file && isTable(file));
    if (file && /\.tsv$/i.test(file.name)) byId("table-delimiter").value = "tab";
    byId("create-error").replaceChildren();
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "create-file") noteFile(event.target);
  });

  function dropZone(event) {
    const zone = event.target.closest ? event.target.closest("#create-drop") : null;
    return zone && event.dataTransfer && [...event.dataTransfer.types].includes("Files") ? zone : null;
  }

  document.addEventListener("dragover", (event) => {
    const zone = dropZone(event);
    if (!zone) return;
    event.preventDefault();
    zone.classList.add("over");
  });

  document.addEventListener("dragleave", (event) => {
    const zone = dropZone(event);
    if (zone && !zone.contains(event.relatedTarget)) zone.classList.remove("over");
  });

  document.addEventListener("drop", (event) => {
    const zone = dropZone(event);
    if (!zone) return;
    event.preventDefault();
    zone.classList.remove("over");
    if (upload) return;
    if (event.dataTransfer.files.length !== 1) {
      showError("Drop one file: a batch has one.");
      return;
    }
    const input = byId("create-file");
    input.files = event.dataTransfer.files;
    noteFile(input);
  });

  // --- sending ---

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.id !== "create-form") return;
    event.preventDefault();
    if (upload) return;
    byId("create-error").replaceChildren();
    if (form.elements.file.value) check(form);
    else send(form, byId("create-file").files[0]);
  });

  function check(form) {
    showProgress("Checking the file. A large one takes some seconds.");
    byId("create-bar").removeAttribute("value");
    byId("create-figures").textContent = "";
    byId("create-cancel-upload").hidden = true;
    htmx.trigger(form, "ready");
  }

  function send(form, file) {
    const most = Number(form.dataset.maxBytes);
    if (file.size > most) {
      showError(`The file is too large: it has ${sizeText(file.size)}, and at most ${sizeText(most)} are accepted.`);
      return;
    }
    const begun = performance.now();
    const headers = isTable(file) ? { "x-table-system": encodeURIComponent(byId("table-system").value) } : {};
    const onSent = (sent) => { if (upload) showFigures(sent, file.size, begun); };
    upload = sendBody(addressFor(form, file), file, { headers, onSent });
    showProgress(`Uploading ${file.name}.`);
    showFigures(0, file.size, begun);
    byId("create-cancel-upload").hidden = false;
    byId("create-cancel-upload").focus();
    upload.done.then((request) => request.response.text()).then((text) => kept(form, JSON.parse(text)))
      .catch((error) => failed(error.message));
  }

  function addressFor(form, file) {
    const query = new URLSearchParams({ filename: file.name });
    if (isTable(file)) {
      query.set("kind", "csv");
      query.set("model", byId("table-model").value.trim());
      query.set("endpoint", byId("table-endpoint").value);
      query.set("prompt_column", byId("table-prompt").value.trim());
      query.set("id_column", byId("table-id").value.trim());
      query.set("delimiter", byId("table-delimiter").value);
      if (byId("table-header").checked) query.set("header", "1");
    }
    return `${form.dataset.uploads}?${query}`;
  }

  function kept(form, file) {
    upload = null;
    form.elements.file.value = file.id;
    form.elements.is_sent.value = "1";
    check(form);
  }

  function failed(text) {
    upload = null;
    if (!byId("create-progress")) return;
    hideProgress();
    showError(text);
    byId("create-file").focus();
  }

  function cancelUpload() {
    if (!upload) return;
    upload.stop();
    failed("The upload was cancelled: nothing was kept.");
  }

  document.addEventListener("click", (event) => {
    if (event.target.id === "create-cancel-upload") cancelUpload();
  });
  // Whoever closes the dialog wants nothing of it; a close does not bubble.
  document.addEventListener("close", (event) => { if (event.target.id === "dialog") cancelUpload(); }, true);

  // --- what is shown meanwhile ---

  function showProgress(state) {
    byId("create-progress").hidden = false;
    byId("create-buttons").hidden = true;
    byId("create-state").textContent = state;
    for (const id of ["create-file", "create-table", "create-another"]) {
      if (byId(id)) byId(id).disabled = true;
    }
  }

  function hideProgress() {
    byId("create-progress").hidden = true;
    byId("create-buttons").hidden = false;
    if (byId("create-another")) byId("create-another").disabled = false;
    const input = byId("create-file");
    if (!input) return;
    input.disabled = false;
    const table = byId("create-table");
    table.disabled = table.hidden;
  }

  function showFigures(sent, total, begun) {
    const seconds = (performance.now() - begun) / 1000;
    const rate = seconds > 0.2 ? `, ${sizeText(Math.round(sent / seconds))}/s` : "";
    const share = total ? Math.floor((100 * sent) / total) : 100;
    byId("create-bar").value = share;
    byId("create-figures").textContent = `${sizeText(sent)} of ${sizeText(total)} (${share} %)${rate}`;
    if (total && sent >= total) {
      byId("create-state").textContent = "Storing the file.";
      byId("create-bar").removeAttribute("value");
      byId("create-cancel-upload").hidden = true; // it is sent: there is nothing left to stop
    }
  }

  // --- steps ---

  // A new step begins where it says so.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "create-step" && event.target.id !== "dialog-body") return;
    const first = document.querySelector("#create-step [data-focus]");
    if (first && !upload) first.focus();
  });

  // The check may be refused or get lost: then the form is as it was, with the file that was sent.
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.target.id === "create-form" && !event.detail.successful) hideProgress();
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.target.id === "create-form") {
      showError("The server does not answer. The file was sent: try the check again.");
    }
  });
})();
