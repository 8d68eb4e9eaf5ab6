// Keys, the picture that is dropped, and what to say when the console is away. All else is HTML and htmx.
"use strict";

const typing = (at) => at.closest("input:not([type=checkbox], [type=radio], [type=file]), textarea, select");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "Escape") document.querySelectorAll("details.menu[open]").forEach((menu) => (menu.open = false));
  if (!("keys" in document.body.dataset) || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary, input")) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]:not(:disabled)`);
  if (!found) return;
  event.preventDefault();
  if (found.matches("textarea, input:not([type=checkbox])")) found.focus();
  else found.click();
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  const toggle = event.target.closest("[data-toggles]");
  if (toggle) document.getElementById(toggle.dataset.toggles).querySelector("summary").click();
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});

document.addEventListener("toggle", (event) => {
  document.querySelectorAll(`[data-toggles="${event.target.id}"]`).forEach((button) => {
    button.setAttribute("aria-expanded", event.target.open);
  });
  if (event.target.id === "correct" && event.target.open) event.target.querySelector("select").focus();
}, true);

// The picture to try: drawn here, so that no address of it is made.
document.addEventListener("change", async (event) => {
  const drop = event.target.closest(".drop");
  if (!drop) return;
  const file = event.target.files[0];
  const canvas = drop.querySelector("canvas");
  drop.querySelector(".file").textContent = file ? file.name : "";
  drop.classList.toggle("has", Boolean(file));
  canvas.hidden = true;
  if (!file) return;
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(480 / picture.width, 360 / picture.height, 1);
    canvas.width = picture.width * scale;
    canvas.height = picture.height * scale;
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    canvas.hidden = false;
  } catch {
    // no picture that this browser can draw; the verdict says what it is
  }
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const drop = event.target.closest(".drop");
    if (drop) drop.classList.toggle("over", kind === "dragover");
    else if (kind !== "dragleave") event.preventDefault(); // a file dropped beside it must not replace the page
  });
}

const trouble = (words) => {
  const at = document.getElementById("trouble");
  at.hidden = !words;
  at.textContent = words ?? "";
};

document.addEventListener("htmx:sendError", () => trouble(document.getElementById("trouble").dataset.away));
document.addEventListener("htmx:timeout", () => trouble(document.getElementById("trouble").dataset.away));
document.addEventListener("htmx:responseError", (event) => {
  const { away, failed } = document.getElementById("trouble").dataset;
  trouble(event.detail.requestConfig.verb === "get" ? away : failed);
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.shouldSwap) trouble(null);
});
