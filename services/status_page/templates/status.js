// Replaces the figures by those that the server pushes. The page works without it: it then reloads.
"use strict";
const figures = document.getElementById("figures");
const lost = document.getElementById("lost");
const pause = document.getElementById("pause");
const silence = Number(figures.dataset.silence);
let source = null;
let seenAt = Date.now();
let paused = false;

function connect() {
  source = new EventSource(figures.dataset.events);
  source.addEventListener("figures", (event) => {
    seenAt = Date.now();
    lost.hidden = true;
    if (!paused) {
      figures.innerHTML = event.data;
    }
  });
  source.addEventListener("error", () => {
    // Refused for good: signed out, or too many streams. The page itself shows which.
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(reload, 10000);
    }
  });
}

function reload() {
  // Not before there is an answer: a browser's own page of errors would never come back.
  fetch(location.href, { method: "HEAD" }).then(
    () => location.reload(),
    () => setTimeout(reload, 10000),
  );
}

setInterval(() => {
  if (Date.now() - seenAt > silence) {
    const shown = figures.querySelector("time");
    lost.textContent = lost.dataset.text.replace("{at}", shown ? shown.textContent : "?");
    lost.hidden = false;
  }
}, 1000);

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
  pause.setAttribute("aria-pressed", String(paused));
});

connect();
