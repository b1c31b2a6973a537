/* The list of jobs, the same on every page: asked for each second, and changed only where it is another, so that what
   has the focus keeps it. */
const list = element.querySelector("ul"), said = element.querySelector("p");
let done = null;
const act = async (number, action) => {
  await fetch(`jobs/${number}/${action}`, { method: "POST", headers: { "X-Page": "vsr-plugin" } });
  await show();
};
const row = (job) => {
  let item = list.querySelector(`[data-job="${job.number}"]`);
  if (!item) {
    item = document.createElement("li");
    item.dataset.job = job.number;
    item.className = "vsr-job";
    item.append(document.createElement("div"), document.createElement("div"));
    item.lastChild.className = "vsr-actions";
    list.append(item);
  }
  const [told, actions] = item.children;
  if (told.dataset.html !== job.told) { told.innerHTML = job.told; told.dataset.html = job.told; }
  if (item.dataset.state !== job.state) {
    item.dataset.state = job.state;
    actions.replaceChildren(...job.actions.map(([action, words]) => {
      const button = document.createElement("button");
      button.textContent = `${words} (job ${job.number})`;
      button.addEventListener("click", () => { act(job.number, action); });
      return button;
    }));
  }
  return item;
};
const show = async () => {
  let jobs;
  try {
    jobs = await (await fetch("jobs")).json();
  } catch {
    said.textContent = "The server does not answer; start vsr-plugin app again. Jobs are not lost.";
    return;
  }
  said.textContent = jobs.length ? "" : "There are no jobs.";
  const rows = new Set(jobs.map(row));
  [...list.children].filter((item) => !rows.has(item)).forEach((item) => item.remove());
  const now = jobs.filter((job) => job.state === "done").map((job) => job.number).join();
  if (now !== done) { done = now; trigger("submit"); }
};
show();
setInterval(show, 1000);
