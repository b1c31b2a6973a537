/* Before and after, zoom, and two players as one. All by delegation, since the page's parts are replaced as it goes. */
(() => {
  const root = document.documentElement;
  const wipe = (share) => {
    const at = Math.min(100, Math.max(0, share));
    root.style.setProperty("--vsr-wipe", at + "%");
    document.querySelectorAll('[data-vsr="wipe"]').forEach((input) => { input.value = at; });
  };
  const windows = () => [...document.querySelectorAll(".vsr-window")];

  document.addEventListener("input", (event) => {
    if (event.target.dataset?.vsr === "wipe") wipe(Number(event.target.value));
  });

  document.addEventListener("change", (event) => {
    if (event.target.dataset?.vsr !== "zoom") return;
    const zoom = event.target.value;
    if (zoom === "fit") delete root.dataset.vsrZoom;
    else { root.dataset.vsrZoom = zoom; root.style.setProperty("--vsr-zoom", zoom); }
    windows().forEach((view) => {  // the middle stays the middle
      view.scrollLeft = (view.scrollWidth - view.clientWidth) / 2;
      view.scrollTop = (view.scrollHeight - view.clientHeight) / 2;
    });
  });

  /* In a picture that fits, dragging moves the border of before and after; in a larger one it moves the picture. */
  let drag = null;
  const toWipe = (event) => {
    const box = drag.canvas.getBoundingClientRect();
    wipe(100 * (event.clientX - box.left) / box.width);
  };
  document.addEventListener("pointerdown", (event) => {
    const view = event.target.closest?.(".vsr-window");
    if (!view || event.button !== 0) return;
    const zoomed = "vsrZoom" in root.dataset;
    if (zoomed && event.pointerType !== "mouse") return;
    drag = { view, zoomed, canvas: view.querySelector(".vsr-canvas"), x: event.clientX, y: event.clientY };
    if (!zoomed) toWipe(event);
    if (event.pointerType === "mouse") event.preventDefault();
    view.focus({ preventScroll: true });
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (!drag.zoomed) { toWipe(event); return; }
    drag.view.scrollLeft -= event.clientX - drag.x;
    drag.view.scrollTop -= event.clientY - drag.y;
    [drag.x, drag.y] = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { drag = null; });

  /* Pictures beside each other show the same place. */
  let leader = null, release = 0;
  document.addEventListener("scroll", (event) => {
    const view = event.target;
    if (!view.classList?.contains("vsr-window") || (leader && leader !== view)) return;
    leader = view;
    clearTimeout(release);
    release = setTimeout(() => { leader = null; }, 100);
    const share = (at, all, shown) => (all > shown ? at / (all - shown) : 0);
    const x = share(view.scrollLeft, view.scrollWidth, view.clientWidth);
    const y = share(view.scrollTop, view.scrollHeight, view.clientHeight);
    windows().filter((other) => other !== view).forEach((other) => {
      other.scrollLeft = x * (other.scrollWidth - other.clientWidth);
      other.scrollTop = y * (other.scrollHeight - other.clientHeight);
    });
  }, true);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.('[data-vsr="copy"]');
    if (!button) return;
    const text = button.parentElement.querySelector("textarea");
    text.select();  // where the browser does not let a page copy, a person can
    try {
      await navigator.clipboard.writeText(text.value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected; copy it with Ctrl-C";
    }
  });

  /* Two players as one. */
  const players = (node) => [...node.closest(".vsr-players").querySelectorAll("video")];
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.('[data-vsr="play"]');
    if (!button) return;
    const [first, ...others] = players(button);
    others.forEach((other) => { other.currentTime = first.currentTime; });
    const paused = first.paused;
    [first, ...others].forEach((video) => { if (paused) video.play().catch(() => {}); else video.pause(); });
  });
  document.addEventListener("seeked", (event) => {
    if (!event.target.closest?.(".vsr-players")) return;
    players(event.target).forEach((other) => {
      if (Math.abs(other.currentTime - event.target.currentTime) > 0.1) other.currentTime = event.target.currentTime;
    });
  }, true);
  document.addEventListener("error", (event) => {
    const video = event.target;
    if (video.tagName !== "VIDEO" || !video.closest(".vsr-players")) return;
    const note = document.createElement("p");
    note.textContent = "This browser does not play this kind of file; open it in a player: " + video.dataset.name;
    video.replaceWith(note);
  }, true);
})();
