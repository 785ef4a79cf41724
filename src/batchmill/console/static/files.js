// The list of files: picking rows, and the dialog that uploads one file.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // --- picking ---

  function picks() {
    return [...document.querySelectorAll("#picked .pick")];
  }

  function count() {
    const button = byId("delete-picked");
    if (!button) return;
    const all = picks();
    const picked = all.filter((box) => box.checked).length;
    const words = picked === 0 ? "Delete files" : `Delete ${plural(picked, "file")}`;
    button.disabled = picked === 0;
    button.textContent = words;
    if (picked) button.setAttribute("hx-confirm", `${words}? Their bytes go with them.`);
    else button.removeAttribute("hx-confirm");
    byId("pick-all").checked = picked === all.length;
    byId("pick-all").indeterminate = picked > 0 && picked < all.length;
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "pick-all") {
      for (const box of picks()) box.checked = event.target.checked;
    }
    if (event.target.matches("#pick-all, .pick")) count();
  });

  // What was picked stays picked when the list is renewed, but not when it was deleted from.
  let kept = [];
  const isDeleting = (event) => event.detail.requestConfig?.verb === "post";
  document.addEventListener("htmx:beforeSwap", (event) => {
    kept = isDeleting(event) ? [] : picks().filter((box) => box.checked).map((box) => box.value);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const box of picks()) if (kept.includes(box.value)) box.checked = true;
    count();
  });

  // The row that was deleted held the focus: what became of it is where to go on from.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (isDeleting(event) && byId("report")) byId("report").focus();
  });
  count();

  // --- uploading ---

  const dialog = byId("upload");
  if (!dialog) return;
  const form = byId("upload-form");
  const chosen = byId("upload-file");
  let sending = null;

  function showFault(text) {
    byId("upload-fault").textContent = text;
    byId("upload-fault").hidden = text === "";
  }

  function showState(isBusy) {
    byId("upload-state").hidden = !isBusy;
    byId("upload-send").disabled = isBusy;
    chosen.disabled = isBusy;
  }

  function end() {
    if (sending) sending.stop();
    sending = null;
    showState(false);
  }

  function follow(file) {
    return (sent) => {
      const share = file.size ? Math.floor((100 * sent) / file.size) : 100;
      byId("upload-progress").value = share;
      byId("upload-said").textContent = sent >= file.size
        ? "Sent. The server is checking and keeping it."
        : `${share} %: ${sizeText(sent)} of ${sizeText(file.size)}`;
    };
  }

  async function upload(file) {
    const address = new URLSearchParams({ filename: file.name, kind: "jsonl" });
    sending = sendBody(`${form.dataset.url}?${address}`, file, { onSent: follow(file) });
    showState(true);
    try {
      await sending.done;
      location.assign(form.dataset.list);
    } catch (error) {
      end();
      showFault(error.message);
    }
  }

  byId("upload-open").addEventListener("click", () => {
    form.reset();
    showFault("");
    showState(false);
    dialog.showModal();
  });
  byId("upload-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", end);
  chosen.addEventListener("change", () => showFault(""));
  takeDrops(byId("upload-drop"), chosen);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = chosen.files[0];
    if (file.size > Number(form.dataset.max)) {
      showFault(`${file.name} has ${sizeText(file.size)}: at most ${form.dataset.maxText} are accepted.`);
      return;
    }
    showFault("");
    upload(file);
  });
})();
