/* Sends a chosen file, says how far it is and what is wrong, and tells the page its name. */
const [input, bar, said] = ["input", "progress", "p"].map((name) => element.querySelector(name));
const say = (text) => { said.textContent = text; said.hidden = !text; said.className = "vsr-error"; };
input.addEventListener("change", () => {
  const [file] = input.files;
  if (!file) return;
  const request = new XMLHttpRequest();
  const ended = (text) => { bar.hidden = true; input.value = ""; say(text); };
  request.open("PUT", "upload?name=" + encodeURIComponent(file.name));
  request.upload.onprogress = (event) => { bar.value = event.loaded / event.total; };
  request.onload = () => {
    if (request.status !== 200) { ended(request.responseText); return; }
    ended("");
    trigger("upload", { name: request.responseText });
  };
  request.onerror = () => ended(file.name + ": the upload was cut off; nothing of it is kept, try again");
  say("");
  bar.hidden = false;
  request.send(file);
});
