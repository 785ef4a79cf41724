// Sending a file's bytes to the server with progress, and what can go wrong on the way.
// One request at a time and in one direction: the answer is read when everything was sent.
"use strict";
(() => {
  const units = ["KB", "MB", "GB", "TB"];

  function sizeText(bytes) {
    if (bytes < 1024) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
    let amount = bytes;
    let unit = -1;
    do { amount /= 1024; unit += 1; } while (amount >= 1024 && unit < units.length - 1);
    return `${amount.toFixed(1)} ${units[unit]}`;
  }

  function plural(count, noun) {
    return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  }

  // The message of an answer that is no success: a piece of a page, or JSON.
  async function faultOf(answer, type) {
    const text = await answer.text();
    if (type.includes("json")) {
      const told = JSON.parse(text);
      return told.message || told.error?.message || told.error || text;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    const said = page.querySelector(".message") || page.body;
    return said.textContent.trim();
  }

  async function settle(request, done, failed) {
    const again = request.getResponseHeader("hx-redirect");
    if (again) { location.assign(again); return; }
    if (request.status >= 200 && request.status < 300) { done(request); return; }
    const type = request.getResponseHeader("content-type") || "";
    failed(new Error(await faultOf(request.response, type) || `The server answered ${request.status}.`));
  }

  // Posts ``body`` (a Blob) with the page's token and ``headers``. ``onSent(bytes)`` hears how far
  // it is, ``onRead(bytes)`` the same of the answer; ``done`` is fulfilled with the request, whose
  // response is a Blob, and fails with an Error whose message is for the visitor; ``stop`` gives
  // it up, and then ``done`` never ends.
  window.sendBody = (url, body, { onSent = () => {}, onRead = () => {}, headers = {} } = {}) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.responseType = "blob";
    request.setRequestHeader("content-type", "application/octet-stream");
    request.setRequestHeader("hx-request", "true");
    const token = JSON.parse(document.body.getAttribute("hx-headers"));
    for (const [name, value] of Object.entries({ ...token, ...headers })) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onSent(event.loaded));
    request.upload.addEventListener("load", () => onSent(body.size));
    request.addEventListener("progress", (event) => onRead(event.loaded));
    const done = new Promise((fulfil, fail) => {
      request.addEventListener("load", () => settle(request, fulfil, fail).catch(fail));
      request.addEventListener("error", () => fail(new Error(
        "The connection to the server broke off. Nothing was kept: try again.")));
    });
    request.send(body);
    return { done, stop: () => request.abort() };
  };

  window.sizeText = sizeText;
  window.plural = plural;

  // An area that takes a file that is dropped on it, as if it were chosen in ``input``.
  window.takeDrops = (area, input) => {
    for (const name of ["dragenter", "dragover"]) {
      area.addEventListener(name, (event) => {
        event.preventDefault();
        area.classList.add("over");
      });
    }
    area.addEventListener("dragleave", (event) => {
      if (!area.contains(event.relatedTarget)) area.classList.remove("over");
    });
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      area.classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      const taken = new DataTransfer();
      for (const file of event.dataTransfer.files) {
        if (input.multiple || !taken.files.length) taken.items.add(file);
      }
      input.files = taken.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
  };
})();
